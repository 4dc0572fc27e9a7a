from __future__ import annotations

import socket
from pathlib import Path

import pytest

from trainserve.cli.top import pods
from trainserve.operator import labels
from trainserve.operator.modelserve.pod import METRICS, PROBE
from trainserve.operator.trainjob.builders import PROGRESS_PORT


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
def test_a_wrong_call_is_one_line_and_exit_2(trainserve, arguments: list[str], words: str) -> None:
    finished = trainserve("top", *arguments)
    assert (finished.status, finished.out) == (2, "")
    (line,) = finished.err.splitlines()
    assert line.startswith("trainserve: ")
    assert words in line


def test_without_a_cluster_kubectls_words_are_the_error(trainserve, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    nobody = tmp_path / "kubeconfig"
    nobody.write_text(f"""
apiVersion: v1
kind: Config
current-context: gone
contexts: [{{name: gone, context: {{cluster: gone}}}}]
clusters: [{{name: gone, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
""")
    finished = trainserve("top", KUBECONFIG=str(nobody))
    assert (finished.status, finished.out) == (1, "")
    (line,) = finished.err.splitlines()
    assert f"The connection to the server 127.0.0.1:{port} was refused" in line


def test_a_kubeconfig_that_is_none_is_one_line(trainserve, tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text("{")
    finished = trainserve("top", KUBECONFIG=str(tmp_path / "kubeconfig"))
    assert (finished.status, finished.out) == (1, "")
    (line,) = finished.err.splitlines()
    assert line.startswith("trainserve: kubectl ")
    assert "error loading config file" in line


def test_ports_and_labels_are_those_that_the_operator_gives_to_pods() -> None:
    assert (pods.PROGRESS, pods.METRICS, pods.PROBE) == (PROGRESS_PORT, METRICS, PROBE)
    assert pods.MANAGED == labels.SELECTOR
    assert (pods.TRAINJOB, pods.RANK, pods.ATTEMPT) == (labels.TRAINJOB, labels.RANK, labels.ATTEMPT)
    assert (pods.MODELSERVE, pods.VERSION) == (labels.MODELSERVE, labels.VERSION)
