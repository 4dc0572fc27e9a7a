"""`trainserve top` on real API servers: its display of runs and services, and of pods that misbehave."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.cluster.support import HANG, Kube, Object, digits, wait_for
from tests.cluster.top import Screen, rows, top
from trainserve.dev.cluster import Cluster
from trainserve.models import server
from trainserve.models.progress import Progress

NETWORK = "10.213.77"
"""A network of this machine: API servers refuse to proxy to 127.0.0.0/8."""


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """An API server without TrainServe's kinds, until a test requests `bare`."""
    if os.environ.get("KUBECONFIG"):
        pytest.skip("starts an API server of its own: development cluster only")
    started = Cluster(tmp_path_factory.mktemp("bare"))
    try:
        started.up("apiserver")
        yield started
    finally:
        started.down()


@pytest.fixture(scope="module")
def bare(empty: Cluster) -> Kube:
    """The same server with TrainServe's kinds; no operator runs, so objects and pods stay as tests write them."""
    empty.up("controller-manager")
    return Kube(empty.kubeconfig, empty, "default")


@pytest.fixture
def team(bare: Kube, request: pytest.FixtureRequest) -> Kube:
    """A namespace of the test."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name)[-40:].strip("-")
    bare.client.create("Namespace", {"metadata": {"name": name}})
    return Kube(bare.kubeconfig, bare.cluster, name)


@pytest.fixture(scope="module")
def network() -> Iterator[Callable[[], str]]:
    """A factory of non-loopback addresses of this machine, assigned to the loopback interface."""
    made: list[str] = []

    def address() -> str:
        added = f"{NETWORK}.{len(made) + 1}"
        done = subprocess.run(
            ["ip", "address", "replace", f"{added}/32", "dev", "lo"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"no address can be made that an API server sends something to: {done.stderr.strip()}")
        made.append(added)
        return added

    yield address
    for each in made:
        subprocess.run(["ip", "address", "delete", f"{each}/32", "dev", "lo"], check=True)


def patch(team: Kube, kind: str, name: str, status: Object) -> None:
    team.client.patch(kind, name, {"status": status}, subresource="status")


def running(team: Kube, name: str, address: str, status: Object | None = None) -> None:
    """Create a running TrainJob, and its pod with this address."""
    team.create("TrainJob", name, digits())
    patch(team, "TrainJob", name, {"phase": "Running", **(status or {})})
    job = team.get("TrainJob", name)
    labels = {"trainjob": name, "rank": "0", "attempt": "1"}
    metadata = {
        "name": f"{name}-1-0",
        "labels": {
            "app.kubernetes.io/managed-by": "trainserve",
            **{f"trainserve.io/{key}": value for key, value in labels.items()},
        },
        "ownerReferences": [
            {"apiVersion": job["apiVersion"], "kind": "TrainJob", "name": name, "uid": job["metadata"]["uid"]}
        ],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [{"name": "a", "image": "a"}]},
    }
    applied = team.kubectl("create", "-f", "-", stdin=json.dumps(pod))
    assert applied.returncode == 0, applied.stderr
    patch(team, "Pod", f"{name}-1-0", {"phase": "Running", "podIP": address})


@contextlib.contextmanager
def trainer(address: str, monkeypatch: pytest.MonkeyPatch, **state: Any) -> Iterator[None]:
    """Run a training pod's own server at this address."""
    monkeypatch.setenv("POD_IP", address)
    progress = Progress()
    progress.update(**state)
    listening = server.serve(progress)
    assert listening is not None
    try:
        yield
    finally:
        listening.shutdown()
        listening.server_close()


@contextlib.contextmanager
def odd(address: str, answer: bytes | None) -> Iterator[None]:
    """Run a pod's server that sends `answer` to everything; with None, it never answers."""
    with socket.create_server((address, 9400)) as listening:
        kept = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    kept.append(connection)
                    if answer is not None:
                        connection.recv(65536)
                        connection.sendall(answer)
                        connection.close()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(HANG)
        for connection in kept:
            connection.close()


def test_a_cluster_without_trainserve_is_told_in_kubectls_words(empty: Cluster) -> None:
    finished = top(empty.kubeconfig, "--once")
    assert (finished.returncode, finished.stdout) == (1, "")
    (line,) = finished.stderr.splitlines()
    assert line.startswith("trainserve: Error from server (NotFound): the server could not find the requested resource")


def test_a_pods_progress_comes_through_the_api_servers_proxy(
    team: Kube, network: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = network()
    running(team, "digits", address, {"progress": {"epoch": 1, "epochs": 9, "loss": 3.0}})
    with trainer(address, monkeypatch, epoch=7, epochs=9, loss=0.125, accuracy=0.5, samples_per_second=1234.5,
                 eta_seconds=75.0, gpu_utilization=0.5, gpu_memory_bytes=2**31):  # fmt: skip
        raw = team.kubectl("get", "--raw", f"/api/v1/namespaces/{team.namespace}/pods/digits-1-0:9400/proxy/metrics")
        assert "trainserve_train_loss 0.125" in raw.stdout, raw.stderr
        finished = top(team.kubeconfig, "--once", "-n", team.namespace)
    assert finished.returncode == 0, finished.stderr
    row = rows(finished.stdout, "TRAINJOB")["digits"]
    assert (row["EPOCH"], row["LOSS"], row["ACC"], row["IMG/S"]) == ("7/9", "0.125", "0.500", "1,234")
    assert (row["ETA"], row["GPU"], row["MEM"]) == ("75s", "50%", "2.0G")
    assert "no figures" not in finished.stdout


def test_a_pod_that_hangs_is_gone_or_answers_garbage_costs_its_own_figures_alone(
    team: Kube, network: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {
        "hangs": None,
        "garbage": b"\x00\xff" * 100,
        "html": b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
        "list": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        "fails": b"HTTP/1.1 500 Oh\r\nContent-Length: 8\r\n\r\n\x1b[31mred",
        "moved": b"HTTP/1.1 302 Found\r\nLocation: http://example.org/\r\nContent-Length: 0\r\n\r\n",
        "odd": b'HTTP/1.1 200 OK\r\nContent-Length: 38\r\n\r\n{"loss": "\\u001b[2J", "epochs": 1e999}',
    }
    with contextlib.ExitStack() as stack:
        for name, answer in answers.items():
            address = network()
            stack.enter_context(odd(address, answer))
            running(team, name, address)
        running(team, "gone", network())
        address = network()
        stack.enter_context(trainer(address, monkeypatch, epoch=2, epochs=4, loss=0.5))
        running(team, "good", address)
        began = time.monotonic()
        finished = top(team.kubeconfig, "--once", "-n", team.namespace)
        assert time.monotonic() - began < HANG / 2
    assert finished.returncode == 0, finished.stderr
    found = rows(finished.stdout, "TRAINJOB")
    assert (found["good"]["EPOCH"], found["good"]["LOSS"]) == ("2/4", "0.5")
    assert set(found) == {*answers, "gone", "good"}
    assert {found[name]["LOSS"] for name in (*answers, "gone")} == {"-"}
    assert re.search(r"^no figures from fails-1-0:9400 \(and 6 more pods\)", finished.stdout, re.MULTILINE)
    assert "\x1b" not in finished.stdout


def test_every_job_is_listed_without_a_terminal(team: Kube) -> None:
    for number in range(60):
        team.create("TrainJob", f"job-{number:02}", digits())
    finished = top(team.kubeconfig, "--namespace", team.namespace, "--sort", "name")
    assert finished.returncode == 0, finished.stderr
    assert list(rows(finished.stdout, "TRAINJOB")) == [f"job-{number:02}" for number in range(60)]
    assert "TrainJobs 60: 60 Pending" in finished.stdout


def test_what_is_written_into_a_status_cannot_steer_the_terminal(team: Kube) -> None:
    message = "\x1b]0;owned\x07\x1b[2J[red]no[/red]\r\u202etxet"
    team.create("TrainJob", "digits", digits())
    condition = {"type": "Failed", "status": "True", "reason": "UserError", "message": message,
                 "lastTransitionTime": "2026-11-22T16:00:00Z"}  # fmt: skip
    patch(team, "TrainJob", "digits", {"phase": "Failed", "conditions": [condition]})
    finished = top(team.kubeconfig, "--once", "-n", team.namespace)
    shown = rows(finished.stdout, "TRAINJOB")["digits"]["WHY"]
    assert shown == "UserError: \ufffd]0;owned\ufffd\ufffd[2J[red]no[/red] \ufffdtxet"


def as_user(team: Kube, tmp_path: Path, resources: dict[str, list[str]]) -> Path:
    """Return a kubeconfig of a user who may get and list these resources of the namespace, by API group."""
    user = f"user-{team.namespace}"
    rules = [{"apiGroups": [group], "resources": each, "verbs": ["get", "list"]} for group, each in resources.items()]
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "watcher"},
        "rules": rules,
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "watcher"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "watcher"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }
    for each in (role, binding):
        applied = team.kubectl("create", "-f", "-", stdin=json.dumps(each))
        assert applied.returncode == 0, applied.stderr
    config = yaml.safe_load(team.kubeconfig.read_text())
    config["users"][0]["user"]["as"] = user
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    path.chmod(0o600)
    return path


OWN = {"trainserve.io": ["trainjobs", "modelserves"]}


@pytest.mark.parametrize(
    ("resources", "note"),
    [
        (OWN | {"": ["pods", "pods/proxy"]}, None),
        (OWN | {"": ["pods"]}, "no permission to get pods/proxy in namespace {namespace}: "),
        (OWN, "Error from server (Forbidden): pods is forbidden: "),
        (
            {"trainserve.io": ["trainjobs"], "": ["pods", "pods/proxy"]},
            "Error from server (Forbidden): modelserves.trainserve.io is forbidden: ",
        ),
    ],
)
def test_a_right_that_is_missing_costs_what_it_is_for_and_is_named(
    team: Kube, tmp_path: Path, network: Callable[[], str], monkeypatch: pytest.MonkeyPatch,
    resources: dict[str, list[str]], note: str | None,
) -> None:  # fmt: skip
    address = network()
    running(team, "digits", address, {"progress": {"epoch": 1, "epochs": 9, "loss": 3.0}})
    with trainer(address, monkeypatch, epoch=7, epochs=9):
        finished = top(as_user(team, tmp_path, resources), "--once", "-n", team.namespace)
    assert finished.returncode == 0, finished.stderr
    asked = "pods/proxy" in resources.get("", [])
    assert rows(finished.stdout, "TRAINJOB")["digits"]["EPOCH"] == ("7/9" if asked else "1/9")
    said = finished.stdout.splitlines()[-1]
    assert said.startswith(note.format(namespace=team.namespace)) if note else "no permission" not in finished.stdout


def test_who_may_list_neither_kind_is_told_so_in_one_line(team: Kube, tmp_path: Path) -> None:
    finished = top(as_user(team, tmp_path, {"": ["pods"]}), "--once", "-n", team.namespace)
    assert (finished.returncode, finished.stdout) == (1, "")
    (line,) = finished.stderr.splitlines()
    assert line.startswith("trainserve: Error from server (Forbidden): trainjobs.trainserve.io is forbidden: User")


def runs(process: psutil.Process) -> bool:
    """Return whether the process still runs: one that has ended is a zombie until init has reaped it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (lambda screen: screen.press("q"), 0),
        (lambda screen: screen.press("\x03"), 130),
        (lambda screen: os.kill(screen.process, signal.SIGTERM), 128 + signal.SIGTERM),
        (lambda screen: os.kill(screen.process, signal.SIGHUP), 128 + signal.SIGHUP),
    ],
)
def test_a_live_view_leaves_nothing_behind_however_it_ends(
    bare: Kube, tmp_path: Path, end: Callable[[Screen], Any], status: int
) -> None:
    screen = Screen(bare.kubeconfig, tmp_path)
    screen.wait("sorted by phase")
    children = psutil.Process(screen.process).children(recursive=True)
    assert any("--unix-socket" in " ".join(child.cmdline()) for child in children)
    assert list(tmp_path.iterdir())
    end(screen)
    assert screen.ended() == status
    wait_for(lambda: not any(map(runs, children)), 10, lambda: repr(children))
    assert not list(tmp_path.iterdir()), "the folder of the socket is gone"
    assert screen.printed.rstrip().endswith((b"\x1b[?25h", b"\x1b[?1049l")), "the terminal is as it was"


def test_a_live_view_sorts_by_the_next_column_and_fits_a_new_size_at_once(bare: Kube, tmp_path: Path) -> None:
    screen = Screen(bare.kubeconfig, tmp_path, "--interval", "3600")
    screen.wait("sorted by phase")
    screen.wait("sorted by epoch", screen.press("s"))
    before = len(screen.printed)
    screen.resize(10, 40)
    screen.wait("…", before)
    screen.press("q")
    assert screen.ended() == 0


def test_an_api_server_that_goes_away_leaves_what_was_seen_and_says_so(bare: Kube, tmp_path: Path) -> None:
    assert bare.cluster is not None
    screen = Screen(bare.kubeconfig, tmp_path, "--interval", "0.5")
    screen.wait("sorted by phase")
    bare.cluster.kill("apiserver")
    screen.wait("s ago:")
    bare.cluster.start("apiserver")
    since = len(screen.printed)
    wait_for(
        lambda: b"ago:" not in screen.printed[since:].rpartition(b"TrainServe")[2] and len(screen.printed) > since,
        HANG,
        lambda: repr(screen.printed[-2000:]),
    )
    screen.press("q")
    assert screen.ended() == 0
