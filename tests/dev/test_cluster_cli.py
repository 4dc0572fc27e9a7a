"""`python -m trainserve.dev`: what a user types and reads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trainserve.dev import addresses, state
from trainserve.dev.cluster import Cluster
from trainserve.dev.process import Process
from trainserve.dev.state import State


def dev(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": path} if path is not None else None
    command = [sys.executable, "-m", "trainserve.dev", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose cluster was started once and is stopped."""
    made = tmp_path / "a cluster"
    made.mkdir()
    state.save(made / "cluster.json", State(addresses.Addresses(7, addresses.block(7)), simulated_gpus=5))
    (made / "kubeconfig").write_text("{}")
    return made


def test_help_names_every_command_and_what_it_does() -> None:
    shown = dev("--help").stdout
    for command in ("up", "down", "status", "env", "prepare"):
        assert f"\n  {command} " in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["up", "--simulated-gpus", "-1"],
            "Error: Invalid value for '--simulated-gpus': -1 is not in the range 0<=x<=64.",
        ),
        (["upp"], "Error: No such command 'upp'."),
        (["down", "--directory", __file__], "is a file"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(arguments: list[str], message: str) -> None:
    wrong = dev(*arguments)
    assert message in wrong.stderr
    assert len(wrong.stderr.splitlines()) == 1
    assert wrong.returncode == 2


def test_env_of_a_folder_without_a_cluster_is_one_line_and_status_1(tmp_path: Path) -> None:
    missing = dev("env", "--directory", str(tmp_path))
    assert missing.stderr == f"Error: {tmp_path} has no cluster: bring one up first\n"
    assert (missing.stdout, missing.returncode) == ("", 1)


def test_env_can_be_evaluated_by_a_shell(folder: Path) -> None:
    printed = dev("env", "--directory", str(folder)).stdout
    script = f'{printed}\nprintf %s "$KUBECONFIG"'
    shell = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert shell.stdout == str(folder / "kubeconfig")


def test_env_adds_kubectl_to_a_path_that_has_none(folder: Path) -> None:
    printed = dev("env", "--directory", str(folder), path="").stdout
    script = f"{printed}\ncommand -v kubectl"
    shell = subprocess.run(
        ["/bin/sh", "-c", script], capture_output=True, text=True, check=True, env={"PATH": "/nowhere"}
    )
    assert Path(shell.stdout.strip()).is_file()


def test_status_of_a_stopped_cluster_is_no_failure(folder: Path) -> None:
    shown = dev("status", "--directory", str(folder))
    assert shown.stdout.startswith("etcd                stopped  ")
    assert shown.returncode == 0


def test_status_ends_with_1_when_a_component_has_died(folder: Path) -> None:
    current = state.load(folder / "cluster.json")
    assert current is not None
    gone = subprocess.Popen(["true"])
    gone.wait()
    current.processes["etcd"] = Process(gone.pid, 0.0, ("true",))
    state.save(folder / "cluster.json", current)
    shown = dev("status", "--directory", str(folder))
    assert shown.stdout.startswith(f"etcd                died     {gone.pid}")
    assert shown.returncode == 1


def test_the_number_of_gpus_is_remembered(folder: Path) -> None:
    from trainserve.dev.cluster import recorded_gpus

    assert recorded_gpus(folder) == 5
    assert recorded_gpus(folder / "none") == 2


def test_a_cluster_object_does_nothing_until_it_is_asked(tmp_path: Path) -> None:
    Cluster(tmp_path / "cluster").status()
    assert not (tmp_path / "cluster").exists()


def test_asking_for_help_imports_no_kubernetes_types() -> None:
    code = "import sys; import trainserve.dev.__main__; print([m for m in sys.modules if m.startswith('kubernetes')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
