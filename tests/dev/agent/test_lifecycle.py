"""Lifecycle of containers: restarts, probes, hooks, grace periods, deadlines, deletion."""

import json
import signal
import time
from pathlib import Path

import pytest

from trainserve.dev.kube import STRATEGIC

from .conftest import Node, container, is_ready, processes_with, until, waits_for

pytestmark = pytest.mark.cluster

TRAP = 'trap "echo got TERM; exit 7" TERM; echo up; while :; do sleep 0.02; done'


def test_a_crashing_container_starts_again_at_once_and_then_backs_off(node: Node) -> None:
    node.run("crash", "sh", "-c", "echo attempt; exit 3", policy="Always")
    pod = node.when("crash", lambda pod: waits_for(pod, "CrashLoopBackOff"))
    assert container(pod)["restartCount"] == 1
    assert container(pod)["lastState"]["terminated"]["exitCode"] == 3
    assert container(pod)["state"]["waiting"]["message"].startswith("back-off 10s restarting failed container=main")
    assert pod["status"]["phase"] == "Running"
    assert node.log("crash", "--previous") == "attempt\n"
    node.delete("crash", grace=0)


def test_a_command_that_cannot_be_started_is_not_tried_in_a_tight_loop(node: Node) -> None:
    node.run("never-starts", "nonsense-command", policy="Always")
    pod = node.when("never-starts", lambda pod: waits_for(pod, "CrashLoopBackOff"))
    assert container(pod)["restartCount"] == 1
    assert container(pod)["lastState"]["terminated"]["reason"] == "StartError"
    node.delete("never-starts", grace=0)


def test_on_failure_a_container_runs_until_it_succeeds(node: Node, tmp_path: Path) -> None:
    volume = {"name": "host", "hostPath": {"path": str(tmp_path)}}
    mount = [{"name": "host", "mountPath": "/host"}]
    script = "[ -e /host/tried ] || { touch /host/tried; exit 1; }"
    node.run("retry", "sh", "-c", script, policy="OnFailure", volumeMounts=mount, spec={"volumes": [volume]})
    pod = node.when("retry", lambda pod: pod["status"].get("phase") == "Succeeded")
    assert container(pod)["restartCount"] == 1
    assert container(pod)["lastState"]["terminated"]["exitCode"] == 1


def test_a_pod_is_ready_while_its_readiness_probe_succeeds(node: Node) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    script = "until [ -e /tmp/go ]; do sleep 0.02; done; touch /tmp/ready; sleep 3; rm /tmp/ready; sleep 1000"
    starter = {"postStart": {"exec": {"command": ["touch", "/tmp/go"]}}}
    node.run("readiness", "sh", "-c", script, readinessProbe=probe, lifecycle=starter)
    assert not is_ready(node.when("readiness", lambda pod: pod["status"].get("phase") == "Running"))
    node.ready("readiness")
    node.when("readiness", lambda pod: not is_ready(pod))
    node.delete("readiness", grace=0)


def test_a_pod_that_is_called_unready_from_outside_is_ready_again_as_long_as_it_is(node: Node) -> None:
    node.run("doubted", "sleep", "1000")
    pod = node.ready("doubted")
    started = container(pod)["containerID"]
    # As the node controller does to each pod of a node that has not reported for too long.
    doubt = {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "NodeNotReady"}]}}
    node.client.patch("Pod", "doubted", doubt, subresource="status", content_type=STRATEGIC)
    pod = node.ready("doubted")
    assert container(pod)["containerID"] == started
    node.delete("doubted", grace=0)


@pytest.mark.parametrize("handler", ["httpGet", "tcpSocket"])
def test_probes_reach_the_pod_at_its_address_by_named_port(node: Node, handler: str) -> None:
    action = {"port": "web"} | ({"path": "/etc/hostname"} if handler == "httpGet" else {})
    serve = "exec python3 -m http.server --directory / --bind $POD_IP 8080"
    env = [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    ports = [{"name": "web", "containerPort": 8080}]
    probe = {handler: action, "periodSeconds": 1}
    name = f"probe-{handler.lower()}"
    node.run(name, "sh", "-c", serve, env=env, ports=ports, readinessProbe=probe, startupProbe=probe)
    assert container(node.ready(name))["started"]
    node.delete(name, grace=0)


def test_a_container_whose_liveness_probe_fails_is_restarted(node: Node) -> None:
    probe = {"exec": {"command": ["test", "!", "-e", "/tmp/ill"]}, "periodSeconds": 1, "failureThreshold": 1}
    # Becomes unhealthy only after the trap is set: however late a busy machine starts the shell, no probe fails before.
    script = TRAP.replace("echo up;", "echo up; sleep 1; touch /tmp/ill;")
    node.run("liveness", "sh", "-c", script, policy="Always", livenessProbe=probe)
    pod = node.when("liveness", lambda pod: container(pod).get("restartCount", 0) > 0)
    assert container(pod)["lastState"]["terminated"]["exitCode"] == 7
    assert "Liveness probe failed" in node.kubectl("get", "events", "--field-selector", "involvedObject.name=liveness")
    node.delete("liveness", grace=0)


def test_a_container_that_never_starts_up_is_killed_by_its_startup_probe(node: Node) -> None:
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    node.run("startup", "sleep", "1000", startupProbe=probe, livenessProbe=probe)
    assert node.ended("startup")["exitCode"] == 128 + signal.SIGTERM


def test_deletion_runs_the_pre_stop_hook_then_sends_sigterm(node: Node, tmp_path: Path) -> None:
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo hook >> /host/order"]}}}
    script = 'trap "echo term >> /host/order; exit 0" TERM; while :; do sleep 0.02; done'
    volume = {"name": "host", "hostPath": {"path": str(tmp_path)}}
    mount = [{"name": "host", "mountPath": "/host"}]
    node.run("pre-stop", "sh", "-c", script, lifecycle=hook, volumeMounts=mount, spec={"volumes": [volume]})
    node.ready("pre-stop")
    node.delete("pre-stop")
    node.gone("pre-stop")
    assert (tmp_path / "order").read_text() == "hook\nterm\n"


def test_a_container_that_ignores_sigterm_is_killed_after_its_grace_with_all_it_started(node: Node) -> None:
    marker = "86399.125"
    script = f'trap "" TERM; setsid sleep {marker} & while :; do sleep 0.02; done'
    node.run("stubborn", "sh", "-c", script)
    node.ready("stubborn")
    until(lambda: processes_with(marker), "the child has not started")
    began = time.monotonic()
    node.delete("stubborn", grace=3)
    node.gone("stubborn")
    assert 2.5 < time.monotonic() - began < 10
    until(lambda: not processes_with(marker), "the child was left behind")


def test_a_forced_deletion_leaves_no_process(node: Node) -> None:
    marker = "86399.25"
    node.run("forced", "sh", "-c", f'trap "" TERM; setsid sleep {marker} & sleep {marker}')
    uid = node.ready("forced")["metadata"]["uid"]
    node.delete("forced", grace=0)
    until(lambda: not processes_with(marker), "processes were left behind")
    until(lambda: not (node.pods / uid).exists(), "the pod's folder was left behind")


def test_what_a_container_leaves_running_ends_with_it(node: Node) -> None:
    marker = "86399.375"
    node.run("daemon", "sh", "-c", f"setsid sleep {marker} & exit 0")
    node.ended("daemon")
    until(lambda: not processes_with(marker), "the daemon was left behind")


def test_a_pod_that_runs_past_its_deadline_fails(node: Node) -> None:
    node.run("deadline", "sh", "-c", TRAP, spec={"activeDeadlineSeconds": 1})
    pod = node.when("deadline", lambda pod: pod["status"].get("phase") == "Failed")
    assert pod["status"]["reason"] == "DeadlineExceeded"
    assert container(pod)["state"]["terminated"]["exitCode"] == 7


def test_the_last_status_of_a_deleted_pod_has_its_exit_code(node: Node) -> None:
    node.run("watched", "sh", "-c", TRAP, policy="Never", spec={"terminationGracePeriodSeconds": 20})
    node.ready("watched")
    watching = node.client.watch("Pod", {"fieldSelector": "metadata.name=watched", "timeoutSeconds": "30"})
    assert next(watching)["type"] == "ADDED"
    node.delete("watched")
    last = next(event["object"] for event in watching if event["type"] == "DELETED")
    assert container(last)["state"]["terminated"]["exitCode"] == 7


def test_logs_can_be_followed_until_the_container_ends(node: Node) -> None:
    node.run("follow", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.3; done; printf end")
    node.when("follow", lambda pod: pod["status"].get("phase") in ("Running", "Succeeded"))
    assert node.log("follow", "-f") == "1\n2\n3\nend"
    assert node.log("follow", "--tail", "2") == "3\nend"
    stamps = [line.split()[0] for line in node.log("follow", "--timestamps").splitlines()]
    assert stamps == sorted(set(stamps))


def test_an_ended_pod_gives_its_address_back_and_its_status_still_names_it(node: Node) -> None:
    node.run("brief", "true")
    assert node.ended("brief")["exitCode"] == 0
    pod = node.pod("brief")
    assert pod
    record = node.pods / pod["metadata"]["uid"] / "pod.json"
    until(lambda: json.loads(record.read_text())["ip"] == "", "the address is still held")
    assert pod["status"]["podIP"].startswith("127.")
