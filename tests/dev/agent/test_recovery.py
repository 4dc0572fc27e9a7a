"""Recovery after the agent, its launcher, or all processes of the machine are killed."""

import json
import os
import signal
from pathlib import Path

import pytest

from trainserve.dev.agent import cleanup, processes
from trainserve.dev.agent.cgroups import group_name

from .conftest import Node, container, processes_with, until

pytestmark = pytest.mark.cluster


def sleeper(marker: str) -> tuple[str, str, str]:
    return ("sh", "-c", f"echo up; sleep {marker}; exit 5")


def running(node: Node, marker: str) -> int:
    """Return the pid of the only process that sleeps for `marker` seconds."""
    found: list[int] = until(lambda: [pid for pid in processes_with(marker) if command(pid) == "sleep"], "no sleeper")
    return found[0]


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except FileNotFoundError:
        return ""


def test_a_killed_agent_takes_its_pods_up_again_where_they_are(node: Node) -> None:
    limits = {"limits": {"nvidia.com/gpu": "1"}}
    node.run("adopted", *sleeper("86391"), resources=limits, policy="Always")
    node.run("ends-meanwhile", *sleeper("86392"))
    node.run("deleted-meanwhile", *sleeper("86393"))
    before = node.ready("adopted")
    node.ready("ends-meanwhile")
    node.ready("deleted-meanwhile")
    survivor, ends = running(node, "86391"), running(node, "86392")

    node.cluster.kill("agent")
    os.kill(ends, signal.SIGTERM)
    node.client.delete("Pod", "deleted-meanwhile", grace=0)
    node.cluster.start("agent")

    assert node.ended("ends-meanwhile")["exitCode"] == 5
    until(lambda: not processes_with("86393"), "the deleted pod still runs")
    assert running(node, "86391") == survivor
    after = node.pod("adopted")
    assert after
    assert (container(after), after["status"]["podIP"]) == (container(before), before["status"]["podIP"])
    node.run("new", "sh", "-c", 'echo "$CUDA_VISIBLE_DEVICES"', resources=limits)
    node.ended("new")
    record = json.loads((node.pods / before["metadata"]["uid"] / "pod.json").read_text())
    assert node.log("new").strip() not in record["devices"]
    assert node.log("adopted") == "up\n"

    os.kill(survivor, signal.SIGTERM)
    again = node.when(
        "adopted", lambda pod: container(pod)["restartCount"] == 1 and container(pod)["state"].get("running")
    )
    assert container(again)["lastState"]["terminated"]["exitCode"] == 5
    node.delete("adopted", grace=0)


def test_what_happens_while_the_api_server_is_away_is_reported_when_it_is_back(node: Node) -> None:
    node.run("unseen", *sleeper("86397"))
    node.run("stays", *sleeper("86398"), policy="Always")
    node.ready("unseen")
    before = node.ready("stays")
    node.cluster.kill("apiserver")
    os.kill(running(node, "86397"), signal.SIGTERM)
    until(lambda: not processes_with("86397"), "it did not end")
    node.cluster.start("apiserver")
    assert node.ended("unseen")["exitCode"] == 5
    after = node.pod("stays")
    assert after
    assert container(after) == container(before)
    node.delete("stays", grace=0)
    until(lambda: not processes_with("86398"), "the deleted pod still runs")


def test_a_killed_launcher_loses_exit_codes_and_nothing_else(node: Node) -> None:
    node.run("outlives", *sleeper("86394"))
    node.ready("outlives")
    survivor = running(node, "86394")
    launcher = json.loads((node.cluster.directory / "agent" / "launcher.lock").read_text())["pid"]
    os.kill(launcher, signal.SIGKILL)
    node.run("after", "true")
    assert node.ended("after")["exitCode"] == 0
    assert running(node, "86394") == survivor
    os.kill(survivor, signal.SIGTERM)
    ended = node.ended("outlives")
    assert (ended["exitCode"], ended["reason"]) == (137, "ContainerStatusUnknown")


def test_pods_whose_processes_were_all_killed_fail_with_a_reason(node: Node) -> None:
    node.run("killed", *sleeper("86395"))
    uid = node.ready("killed")["metadata"]["uid"]
    node.cluster.kill("agent")
    launcher = json.loads((node.cluster.directory / "agent" / "launcher.lock").read_text())["pid"]
    os.kill(launcher, signal.SIGKILL)
    processes.kill_using(node.pods / uid)
    node.cluster.start("agent")
    ended = node.ended("killed")
    assert (ended["exitCode"], ended["reason"]) == (137, "ContainerStatusUnknown")


def test_cleanup_leaves_nothing_of_any_pod_and_the_next_agent_begins_anew(node: Node) -> None:
    volume = {"name": "memory", "emptyDir": {"medium": "Memory"}}
    limits = {"limits": {"memory": "64Mi", "cpu": "1"}}
    script = "trap '' TERM; setsid sleep 86396 & sleep 86396"
    node.run("left", "sh", "-c", script, resources=limits, spec={"volumes": [volume]})
    node.ready("left")
    until(lambda: len(processes_with("86396")) == 3, "not all of it runs")
    node.cluster.kill("agent")
    cleanup(node.cluster.directory)
    assert not processes_with("86396")
    assert not node.pods.exists()
    assert not processes_with(f"trainserve.dev.agent.launcher {node.cluster.directory}")
    assert str(node.pods) not in Path("/proc/self/mountinfo").read_text()
    assert not list(Path("/sys/fs/cgroup").glob(f"**/{group_name(node.cluster.directory)}"))
    node.cluster.start("agent")
    until(lambda: len(processes_with("86396")) == 3, "the pod does not run again")
    node.delete("left", grace=0)
