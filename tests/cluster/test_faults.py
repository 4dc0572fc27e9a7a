"""Components of the cluster are killed during a run; it ends as if nothing had happened."""

from __future__ import annotations

import importlib.util
import signal
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from tests.cluster.support import Kube, Object, command, condition, digits, is_true, wait_for
from trainserve.dev.cluster import Cluster


def epoch(job: Object) -> int:
    return int((job.get("status", {}).get("progress") or {}).get("epoch") or 0)


def pods_running(kube: Kube, name: str) -> bool:
    return any(pod["status"].get("phase") == "Running" for pod in kube.pods(trainjob=name))


def pods_over(kube: Kube, name: str) -> bool:
    return any(pod["status"].get("phase") in ("Succeeded", "Failed") for pod in kube.pods(trainjob=name))


MOMENTS: list[tuple[str, Callable[[Kube, str], bool]]] = [
    ("as the job is created", lambda kube, name: True),
    ("as its pod appears", lambda kube, name: bool(kube.pods(trainjob=name))),
    ("as its pod runs", pods_running),
    ("in the second epoch", lambda kube, name: epoch(kube.get("TrainJob", name)) >= 2),
    ("as its pod has ended", pods_over),
]


def test_an_operator_killed_at_five_moments_of_a_run_still_completes_it_once(kube: Kube, dev_cluster: Cluster) -> None:
    kube.create("TrainJob", "survivor", digits(trainer={"epochs": 8}, output={"model": "survivor"}))
    for moment, reached in MOMENTS:
        wait_for(lambda: reached(kube, "survivor"), 120, lambda: f"never {moment}")  # noqa: B023 (called at once)
        dev_cluster.kill("operator")
        dev_cluster.start("operator")
    job = kube.finished("survivor")
    assert is_true(job, "Complete"), job["status"]["conditions"]
    assert [attempt["number"] for attempt in job["status"]["attempts"]] == [1]
    assert job["status"]["artifact"]["version"] == 1
    published = dev_cluster.store / kube.namespace / "survivor"
    assert [path.name for path in published.iterdir() if path.name.isdigit()] == ["1"]


def test_kopf_finds_no_uvloop_to_run_on() -> None:
    """Kopf would use uvloop if installed, and then an outage can end its watches for good (MagicStack/uvloop#738)."""
    assert importlib.util.find_spec("uvloop") is None


def test_a_run_outlives_twenty_seconds_without_the_api_server(kube: Kube, dev_cluster: Cluster) -> None:
    kube.create("TrainJob", "outage", command("sleep", "8"))
    kube.wait("TrainJob", "outage", lambda job: is_true(job, "Running"))
    dev_cluster.kill("apiserver")
    time.sleep(20)  # the duration of the outage under test
    dev_cluster.start("apiserver")
    job = kube.finished("outage")
    assert is_true(job, "Complete"), job["status"]["conditions"]
    assert len(job["status"]["attempts"]) == 1


def test_a_killed_agent_takes_up_its_pods_again(kube: Kube, dev_cluster: Cluster) -> None:
    kube.create("TrainJob", "adopted", command("sh", "-c", "sleep 6; exit 0"))
    kube.wait("TrainJob", "adopted", lambda job: is_true(job, "Running"))
    dev_cluster.kill("agent")
    dev_cluster.start("agent")
    job = kube.finished("adopted")
    assert is_true(job, "Complete"), job["status"]["conditions"]
    assert len(job["status"]["attempts"]) == 1


def test_a_worker_out_of_memory_is_reported_as_such(kube: Kube) -> None:
    hungry = command("python", "-c", "x = bytearray(400 << 20); print(len(x))", resources={"memory": "100Mi"})
    kube.create("TrainJob", "hungry", hungry)
    failed = condition(kube.finished("hungry"), "Failed")
    assert failed["reason"] == "OutOfMemory", failed


@pytest.fixture(scope="module")
def served(kube: Kube) -> Object:
    kube.create("TrainJob", "model", digits(output={"model": "model"}))
    job = kube.finished("model")
    assert is_true(job, "Complete"), job["status"]["conditions"]
    kube.create("ModelServe", "model", {"model": {"trainJob": "model"}})
    return kube.wait("ModelServe", "model", lambda serve: is_true(serve, "Ready"))


def test_a_killed_probe_takes_no_healthy_server_along(kube: Kube, dev_cluster: Cluster, served: Object) -> None:
    (pod,) = kube.pods(modelserve="model")
    before = restarts(kube, "model"), restarts(kube, "model", "probe")
    listens = f"{pod['status']['podIP']}:9401"
    (probe,) = [p for p in psutil.process_iter(["cmdline"]) if listens in (p.info["cmdline"] or [])]
    probe.kill()
    wait_for(
        lambda: restarts(kube, "model", "probe") == before[1] + 1 and ready(kube, "model"),
        120,
        lambda: str(kube.pods(modelserve="model")),
    )
    # A container that the kubelet told to end counts as restarted only after its drain.
    told = kube.kubectl("get", "events", "--output=jsonpath={.items[*].message}").stdout
    assert restarts(kube, "model") == before[0] and "Container triton failed liveness probe" not in told


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_server_that_is_killed_or_hangs_is_noticed_and_the_pod_recovers(
    kube: Kube, dev_cluster: Cluster, served: Object, number: signal.Signals
) -> None:
    (pod,) = kube.pods(modelserve="model")
    before = restarts(kube, "model")
    server(pod["status"]["podIP"]).send_signal(number)
    began = time.monotonic()
    wait_for(
        lambda: restarts(kube, "model") == before + 1 and ready(kube, "model"),
        120,
        lambda: str(kube.pods(modelserve="model")),
    )
    if number == signal.SIGKILL:  # a hung server ignores SIGTERM too, and is given its pod's grace period
        assert time.monotonic() - began < 15  # the limit that the issue sets


def server(pod_ip: str) -> psutil.Process:
    """Return the `tritonserver` that listens on this address; the models run inside it."""
    launchers = [p for p in psutil.process_iter(["cmdline"]) if f"--http-address={pod_ip}" in (p.info["cmdline"] or [])]
    (found,) = {child for each in launchers for child in each.children() if child.name() == "tritonserver"}
    return found


def restarts(kube: Kube, serve: str, container: str = "triton") -> int:
    statuses: list[Any] = [s for pod in kube.pods(modelserve=serve) for s in pod["status"]["containerStatuses"]]
    return sum(s["restartCount"] for s in statuses if s["name"] == container)


def ready(kube: Kube, serve: str) -> bool:
    (pod,) = kube.pods(modelserve=serve)
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"]["conditions"])
