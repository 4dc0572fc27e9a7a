from __future__ import annotations

import asyncio
import contextlib
import io
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from tests.cli.conftest import Trainserve
from tests.cluster.support import wait_for
from trainserve.cli.top import pods
from trainserve.cli.top.terminal import Terminal
from trainserve.cli.top.watcher import Snapshot, Watcher
from trainserve.client import RequestFailed
from trainserve.operator import labels


def kubeconfig(port: int) -> str:
    """Return the kubeconfig of a cluster whose API server is at `port` of this machine."""
    return f"""
apiVersion: v1
kind: Config
current-context: gone
contexts: [{{name: gone, context: {{cluster: gone}}}}]
clusters: [{{name: gone, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
"""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--sort", "colour"],
            "'colour' is not one of 'namespace', 'name', 'phase', 'epoch', 'loss', 'accuracy', 'rate'",
        ),
        (["--namespace", "a/../b"], "--namespace: 'a/../b' is not a name"),
        (["--namespace", ""], "--namespace: '' is not a name"),
        (["-A", "-n", "team"], "give either --namespace or --all-namespaces"),
        (["--interval", "0"], "0.0 is not in the range"),
        (["--interval", "nan"], "nan is not a number of seconds"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_2(trainserve: Trainserve, arguments: list[str], words: str) -> None:
    finished = trainserve("top", *arguments)
    assert (finished.status, finished.out) == (2, "")
    (line,) = finished.err.splitlines()
    assert line.startswith("trainserve: ")
    assert words in line


def test_without_a_cluster_kubectls_words_are_the_error(trainserve: Trainserve, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    nobody = tmp_path / "kubeconfig"
    nobody.write_text(kubeconfig(port))
    finished = trainserve("top", KUBECONFIG=str(nobody))
    assert (finished.status, finished.out) == (1, "")
    (line,) = finished.err.splitlines()
    assert f"The connection to the server 127.0.0.1:{port} was refused" in line


def test_a_killed_top_leaves_no_proxy(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("top")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # requests to it are never answered
        (folder / "kubeconfig").write_text(kubeconfig(silent.getsockname()[1]))
        environment = {**os.environ, "KUBECONFIG": str(folder / "kubeconfig"), "TMPDIR": str(folder)}
        code = "from trainserve.cli.main import main; main()"
        with subprocess.Popen([sys.executable, "-c", code, "top"], env=environment) as process:
            try:
                wait_for(lambda: listening(folder), 60, lambda: str(running(folder)))
                assert running(folder)
            finally:
                process.kill()
        # A terminating process loses its command line first, and its sockets afterwards.
        wait_for(lambda: not running(folder) and not listening(folder), 30, lambda: str(running(folder)))


def listening(folder: Path) -> bool:
    """Return whether a proxy accepts connections."""
    with socket.socket(socket.AF_UNIX) as asking:
        return any(asking.connect_ex(str(path)) == 0 for path in folder.glob("*/socket"))


def running(folder: Path) -> list[str]:
    """Return the command lines of the processes that mention `folder`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # the process has ended
            found.append(path.read_text(errors="replace").replace("\0", " "))
    return [command for command in found if str(folder) in command]


class Broken(Watcher):
    """A watcher that sees an empty cluster once, and then raises an unexpected error."""

    def __init__(self) -> None:
        self.looks = 0

    async def look(self) -> Snapshot:
        self.looks += 1
        if self.looks > 1:
            raise KeyError("metadata")
        return Snapshot("here", "default", datetime.now(UTC), [], [])


async def test_a_look_that_fails_for_a_reason_of_our_own_ends_the_view_with_it() -> None:
    terminal = Terminal(Broken(), "phase", 0.01, Console(file=io.StringIO(), force_terminal=True))
    with pytest.raises(RequestFailed, match="the cluster's state cannot be shown: KeyError: 'metadata'"):
        async with asyncio.timeout(30):
            await terminal.watch()


def test_a_kubeconfig_that_is_none_is_one_line(trainserve: Trainserve, tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text("{")
    finished = trainserve("top", KUBECONFIG=str(tmp_path / "kubeconfig"))
    assert (finished.status, finished.out) == (1, "")
    (line,) = finished.err.splitlines()
    assert line.startswith("trainserve: kubectl ")
    assert "error loading config file" in line


def test_labels_are_those_that_the_operator_gives_to_pods() -> None:
    assert pods.MANAGED == labels.SELECTOR
    assert (pods.TRAINJOB, pods.RANK, pods.ATTEMPT) == (labels.TRAINJOB, labels.RANK, labels.ATTEMPT)
    assert (pods.MODELSERVE, pods.VERSION) == (labels.MODELSERVE, labels.VERSION)
