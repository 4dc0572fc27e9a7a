"""The environment of a container: command, variables, files, names, devices, limits."""

import base64
import json
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from .conftest import Node, container, until

pytestmark = pytest.mark.cluster


def test_a_command_runs_with_its_arguments_in_its_working_directory(node: Node) -> None:
    script = 'pwd; printf "%s|" "$@"'
    arguments = ["$(WHO); ls", "$$(WHO)", "*"]
    env = [{"name": "WHO", "value": "me"}]
    node.run("cwd", "sh", "-c", script, "x", args=arguments, workingDir="/srv/new", env=env)
    assert node.ended("cwd")["reason"] == "Completed"
    assert node.log("cwd") == "/srv/new\nme; ls|$(WHO)|*|"
    assert not Path("/srv/new").exists()


def test_the_environment_comes_from_every_kind_of_source(node: Node) -> None:
    node.create("ConfigMap", "env-map", data={"COLOR": "blue"})
    node.create("Secret", "env-secret", data={"TOKEN": base64.b64encode(b"hush").decode()})
    variables = {
        "IP": {"fieldRef": {"fieldPath": "status.podIP"}},
        "LABEL": {"fieldRef": {"fieldPath": "metadata.labels['app']"}},
        "MEMORY": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}},
        "KEY": {"secretKeyRef": {"name": "env-secret", "key": "TOKEN"}},
    }
    node.run(
        "environment",
        "python3",
        "-c",
        "import json, os; print(json.dumps(dict(os.environ)))",
        labels={"app": "web"},
        env=[{"name": name, "valueFrom": source} for name, source in variables.items()],
        envFrom=[{"configMapRef": {"name": "env-map"}}],
        resources={"limits": {"memory": "64Mi"}},
    )
    node.ended("environment")
    env = json.loads(node.log("environment"))
    pod = node.pod("environment")
    assert pod is not None
    assert (env["COLOR"], env["KEY"], env["MEMORY"], env["LABEL"]) == ("blue", "hush", "64", "web")
    assert env["IP"] == pod["status"]["podIP"]
    assert env["IP"].startswith("127.")
    assert env["CUDA_VISIBLE_DEVICES"] == ""
    assert ip_address(env["KUBERNETES_SERVICE_HOST"]) in ip_network("127.96.0.0/12")
    assert not {"KUBECONFIG", "VIRTUAL_ENV", "PYTHONPATH"} & env.keys()


def test_init_containers_run_one_after_the_other_before_the_rest_and_share_volumes(node: Node) -> None:
    def step(name: str, word: str) -> dict[str, object]:
        script = f'sleep 0.1; echo {word} >> "/shared/words"'
        mount = [{"name": "shared", "mountPath": "/shared"}]
        return {"name": name, "image": "none", "command": ["sh", "-c", script], "volumeMounts": mount}

    reader = step("main", "main") | {"command": ["sh", "-c", "cat /shared/words; touch /shared/read"]}
    waiter = step("beside", "") | {"command": ["sh", "-c", "until [ -e /shared/read ]; do sleep 0.02; done"]}
    spec = {
        "initContainers": [step("first", "one"), step("second", "two")],
        "containers": [reader, waiter],
        "volumes": [{"name": "shared", "emptyDir": {}}],
    }
    node.run("init", "", spec=spec)
    pod = node.when("init", lambda pod: pod["status"].get("phase") == "Succeeded")
    assert node.log("init", "-c", "main") == "one\ntwo\n"
    assert [each["state"]["terminated"]["reason"] for each in pod["status"]["initContainerStatuses"]] == [
        "Completed"
    ] * 2


def test_a_failed_init_container_fails_the_pod_and_nothing_else_runs(node: Node) -> None:
    first = {"name": "first", "image": "none", "command": ["sh", "-c", "exit 3"]}
    node.run("init-fails", "sh", "-c", "echo never", spec={"initContainers": [first]})
    pod = node.when("init-fails", lambda pod: pod["status"].get("phase") == "Failed")
    assert pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
    assert container(pod)["state"] == {"waiting": {"reason": "ContainerCreating"}}


def test_volumes_of_every_kind_are_mounted_as_asked_for(node: Node, tmp_path: Path) -> None:
    node.create("ConfigMap", "files", data={"a.txt": "alpha", "b.txt": "beta"})
    node.create("Secret", "hidden", data={"key": base64.b64encode(b"secret").decode()})
    host = tmp_path / "host"
    volumes = [
        {
            "name": "map",
            "configMap": {"name": "files", "items": [{"key": "a.txt", "path": "deep/a"}], "defaultMode": 0o440},
        },
        {"name": "secret", "secret": {"secretName": "hidden"}},
        {"name": "none", "configMap": {"name": "missing", "optional": True}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "host", "hostPath": {"path": str(host), "type": "DirectoryOrCreate"}},
        {"name": "down", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {
            "name": "all",
            "projected": {
                "sources": [
                    {"serviceAccountToken": {"path": "token", "expirationSeconds": 600, "audience": "tests"}},
                    {"secret": {"name": "hidden"}},
                    {"configMap": {"name": "files"}},
                ]
            },
        },
    ]
    mounts: list[dict[str, Any]] = [{"name": each["name"], "mountPath": f"/mounted/{each['name']}"} for each in volumes]
    mounts.append({"name": "map", "mountPath": "/etc/one-file", "subPath": "deep/a"})
    mounts.append({"name": "host", "mountPath": "/mounted/read-only", "readOnly": True})
    script = """
        cd /mounted; cat map/deep/a secret/key down/labels all/key all/b.txt /etc/one-file; echo
        stat -c %a map/deep/a; ls none | wc -l; stat -f -c %T memory
        cut -d. -f1 all/token | base64 -d 2>/dev/null | cut -c1-7
        echo here > host/out; touch read-only/x 2>/dev/null || echo refused; touch map/x 2>/dev/null || echo refused
    """
    node.run("volumes", "sh", "-c", script, labels={"app": "web"}, volumeMounts=mounts, spec={"volumes": volumes})
    node.ended("volumes")
    assert node.log("volumes").splitlines() == [
        'alphasecretapp="web"secretbetaalpha',
        "440",
        "0",
        "tmpfs",
        '{"alg":',
        "refused",
        "refused",
    ]
    assert (host / "out").read_text() == "here\n"
    assert not Path("/mounted").exists()


def phase_of(node: Node, kind: str, name: str) -> str | None:
    phase: str | None = node.client.get(kind, name).get("status", {}).get("phase")
    return phase


def test_a_claim_is_the_folder_of_its_volume(node: Node, tmp_path: Path) -> None:
    folder = tmp_path / "claimed"
    capacity = {"storage": "1Gi"}
    source = {"hostPath": {"path": str(folder)}, "capacity": capacity, "accessModes": ["ReadWriteOnce"]}
    node.create("PersistentVolume", "claimed", spec=source | {"storageClassName": "test"})
    until(lambda: phase_of(node, "PersistentVolume", "claimed") == "Available", "the volume is not available")
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": capacity}, "storageClassName": "test"}
    node.create("PersistentVolumeClaim", "claim", spec=claim)
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "claim"}}
    mount = [{"name": "data", "mountPath": "/data", "subPath": "sub"}]
    node.run("claim", "sh", "-c", "echo kept > /data/file", volumeMounts=mount, spec={"volumes": [volume]})
    node.ended("claim")
    assert (folder / "sub" / "file").read_text() == "kept\n"
    assert phase_of(node, "PersistentVolumeClaim", "claim") == "Bound"


def test_what_a_container_writes_elsewhere_vanishes_with_it(node: Node) -> None:
    script = (
        "echo x > /etc/trainserve-test; mkdir -p /opt/a/b; cat /etc/trainserve-test; touch /dev/shm/trainserve-test"
    )
    node.run("writes", "sh", "-c", script)
    node.ended("writes")
    assert node.log("writes") == "x\n"
    assert not Path("/etc/trainserve-test").exists()
    assert not Path("/opt/a").exists()
    assert not Path("/dev/shm/trainserve-test").exists()


def test_a_container_whose_root_is_read_only_writes_to_its_volumes_alone(node: Node) -> None:
    script = "touch /etc/trainserve-test; touch /tmp/test /dev/shm/test && echo > /dev/null && echo written"
    node.run(
        "confined",
        "sh",
        "-c",
        script,
        securityContext={"readOnlyRootFilesystem": True},
        volumeMounts=[{"name": "tmp", "mountPath": "/tmp"}],
        spec={"volumes": [{"name": "tmp", "emptyDir": {}}]},
    )
    node.ended("confined")
    refused, written = node.log("confined").splitlines()
    assert (refused.endswith("Read-only file system"), written) == (True, "written")


def test_pods_have_distinct_gpus_and_wait_for_one_that_is_free(node: Node) -> None:
    script = 'echo "$CUDA_VISIBLE_DEVICES"; exec sleep 1000'
    limits = {"limits": {"nvidia.com/gpu": "1"}}
    for index in range(3):
        node.run(f"gpu-{index}", "sh", "-c", script, resources=limits)
    for index in range(3):
        node.ready(f"gpu-{index}")
    assert {until(partial(node.log, f"gpu-{index}"), "no log") for index in range(3)} == {
        "0\n",
        "1\n",
        "2\n",
    }
    freed = node.log("gpu-1")
    node.run("gpu-3", "sh", "-c", script, resources=limits)
    node.when(
        "gpu-3", lambda pod: any(each.get("reason") == "Unschedulable" for each in pod["status"].get("conditions", []))
    )
    node.delete("gpu-1")
    node.ready("gpu-3")
    assert until(lambda: node.log("gpu-3"), "no log") == freed
    for index in (0, 2, 3):
        node.delete(f"gpu-{index}", grace=0)


def test_a_container_over_its_memory_limit_is_killed_for_it(node: Node) -> None:
    node.run("memory", "python3", "-c", "x = b'x' * (1 << 28)", resources={"limits": {"memory": "48Mi"}})
    ended = node.ended("memory")
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


def test_a_container_gets_no_more_cpu_than_its_limit(node: Node) -> None:
    script = "import time\nend = time.monotonic() + 1\nwhile time.monotonic() < end: pass\nprint(time.process_time())"
    node.run("cpu", "python3", "-c", script, resources={"limits": {"cpu": "200m"}})
    node.ended("cpu")
    assert float(node.log("cpu")) < 0.5


def test_a_command_that_does_not_exist_is_reported(node: Node) -> None:
    node.run("no-command", "nonsense-command")
    ended = node.ended("no-command")
    assert (ended["reason"], ended["exitCode"]) == ("StartError", 128)
    assert ended["message"] == 'exec: "nonsense-command": executable file not found in $PATH'


def test_a_missing_config_map_is_waited_for(node: Node) -> None:
    source = {"configMapKeyRef": {"name": "late", "key": "word"}}
    node.run("late", "sh", "-c", 'echo "$WORD"', env=[{"name": "WORD", "valueFrom": source}])
    pod = node.when(
        "late",
        lambda pod: container(pod).get("state", {}).get("waiting", {}).get("reason") == "CreateContainerConfigError",
    )
    assert container(pod)["state"]["waiting"]["message"] == 'configmap "late" not found'
    node.create("ConfigMap", "late", data={"word": "arrived"})
    node.ended("late")
    assert node.log("late") == "arrived\n"


@pytest.mark.parametrize(
    ("name", "script", "policy", "message"),
    [
        ("file", "echo told > /dev/termination-log; echo log", "File", "told\n"),
        ("logs", "echo log; exit 1", "FallbackToLogsOnError", "log"),
        ("no-fallback", "echo log", "FallbackToLogsOnError", None),
        ("long", "head -c 9000 /dev/zero | tr '\\0' x > /dev/termination-log", "File", "x" * 4096),
    ],
)
def test_the_termination_message_is_what_the_container_left(
    node: Node, name: str, script: str, policy: str, message: str | None
) -> None:
    node.run(f"message-{name}", "sh", "-c", script, terminationMessagePolicy=policy)
    assert node.ended(f"message-{name}").get("message") == message


def test_the_termination_message_may_be_written_elsewhere(node: Node) -> None:
    node.run("message-path", "sh", "-c", "echo told > /run/deep/message", terminationMessagePath="/run/deep/message")
    assert node.ended("message-path")["message"] == "told\n"
