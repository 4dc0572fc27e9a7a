"""Shutdown of a development cluster: `down`, whatever was killed or lost before."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from tests.dev.control_plane import CONTROL_PLANE, admin, keep, kept, processes, recorded, wait_for
from trainserve.dev import addresses
from trainserve.dev.cluster import Cluster

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(bool(os.environ.get("KUBECONFIG")), reason="KUBECONFIG names a cluster; none is started"),
]


def test_down_leaves_nothing_running_and_the_next_up_has_the_data(other: Cluster) -> None:
    other.up(*CONTROL_PLANE)
    keep(other, "before-down")
    other.down()
    assert processes(other) == []
    assert {status.state for status in other.status().values()} == {"stopped"}
    assert all(map(addresses.is_free, recorded(other).addresses.ports.values()))
    other.up(*CONTROL_PLANE)
    assert kept(other, "before-down")


def test_down_stops_what_runs_even_when_its_record_is_gone(other: Cluster) -> None:
    other.up("etcd")
    other.layout.state.unlink()
    other.down()
    assert processes(other) == []


def test_down_ends_the_processes_of_pods_even_when_the_agent_was_killed(other: Cluster) -> None:
    other.up()
    client = admin(other)
    sleep = {"name": "main", "image": "ignored", "command": ["sleep", "86399"]}
    client.create("Pod", {"metadata": {"name": "sleeper"}, "spec": {"containers": [sleep]}})
    wait_for(lambda: client.get("Pod", "sleeper")["status"].get("phase") == "Running", "the pod to run")
    assert len(sleepers()) == 1
    other.kill("agent")
    assert len(sleepers()) == 1
    other.down()
    assert sleepers() == []
    assert processes(other) == []


def sleepers() -> list[int]:
    """Return the pids of the test pod's processes; zombies do not count, because they have no command line."""
    return [each.pid for each in psutil.process_iter(["cmdline"]) if each.info["cmdline"] == ["sleep", "86399"]]


def test_down_of_a_folder_that_was_never_up_does_nothing(tmp_path: Path) -> None:
    Cluster(tmp_path / "nothing").down()
    assert not (tmp_path / "nothing").exists()
