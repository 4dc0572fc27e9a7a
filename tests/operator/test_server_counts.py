"""The operator's own telemetry on a real API server: metrics, counted writes, one log line per transition."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.operator.live import DEADLINE, Cluster, lines, process, said_published, serve
from tests.operator.support import DIGEST, RUNNING, command_job, condition, ended, trainjob
from trainserve.dev.kube import KINDS
from trainserve.operator import client as own
from trainserve.operator.engine import Engine
from trainserve.operator.writes import NO_ANSWER, Write

pytestmark = pytest.mark.cluster


async def test_metrics_and_health_tell_how_it_goes(cluster: Cluster, engine: Engine, environment: str) -> None:
    await cluster.create("TrainJob", command_job())
    async with asyncio.timeout(DEADLINE):
        while True:
            found = await counted(environment, "trainserve_reconcile_total", "trainserve_trainjobs")
            if (cluster.namespace, "Pending") in found["trainserve_trainjobs"]:
                break
            await asyncio.sleep(0.05)
    assert found["trainserve_reconcile_total"]["TrainJob", "success"] >= 1
    assert engine.health()["acting"]


async def counted(address: str, *names: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Return the series that are not 0, keyed by their label values in the order of the label names."""
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}/metrics") as answer:
        found = list(text_string_to_metric_families(await answer.text()))
    samples = [sample for family in found for sample in family.samples if sample.name in names and sample.value]
    by_name: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in names}
    for sample in samples:
        by_name[sample.name][tuple(value for _, value in sorted(sample.labels.items()))] = sample.value
    return by_name


async def test_every_write_is_counted_with_the_answer_that_it_got(
    cluster: Cluster, engine: Engine, environment: str
) -> None:
    writes, statuses = "trainserve_api_writes_total", "trainserve_status_writes_total"
    attempts, published = "trainserve_attempts_total", "trainserve_versions_published_total"
    async with asyncio.timeout(DEADLINE):
        while not engine.health()["acting"]:  # noqa: ASYNC110 - what earlier tests left is looked at first
            await asyncio.sleep(0.02)
    before = await counted(environment, writes, statuses, attempts, published)
    await cluster.create("ConfigMap", {"metadata": {"name": "taken-1"}, "data": {}})
    await cluster.create("TrainJob", trainjob("taken"))
    await cluster.create("TrainJob", trainjob())
    await cluster.create("ModelServe", serve(uri=f"file:///srv/models/{cluster.namespace}/digits/1", digest=DIGEST))
    await cluster.wait("Service", "web", lambda web: web["spec"])
    await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Pending")
    await cluster.set_status("Pod", "digits-1-0", ended(0, said_published(cluster, 1), reason="Completed"))
    await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Complete")
    await cluster.wait("TrainJob", "taken", lambda job: condition(job["status"], "Scheduled")["reason"] == "NameTaken")
    async with asyncio.timeout(DEADLINE):
        while "Complete" not in [event["reason"] for event in await cluster.objects("Event")]:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.05)
    after = await counted(environment, writes, statuses, attempts, published)
    risen = {
        name: {labels: count - before[name].get(labels, 0) for labels, count in found.items()}
        for name, found in after.items()
    }
    assert risen[writes]["201", "Pod", "create"] == 1
    assert risen[writes]["409", "ConfigMap", "create"] >= 1
    assert risen[writes]["201", "Deployment", "apply"] == 1
    assert risen[writes]["201", "Service", "apply"] == 1
    assert risen[writes]["201", "Event", "create"] >= 1
    assert risen[statuses]["TrainJob",] == risen[writes]["200", "TrainJob", "patch"] >= 3
    assert risen[attempts] == {("Succeeded",): 1}
    assert risen[published] == {(): 1}


async def test_a_write_that_is_not_answered_is_counted_too(environment: str) -> None:
    away = await own.kube_config()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        away.host = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    written: list[tuple[Write, str]] = []
    client = own.Client(away, lambda write, code: written.append((write, code)))
    with pytest.raises(aiohttp.ClientConnectorError):
        seen = {"namespace": "default", "name": "digits-1-0", "uid": "u", "resourceVersion": "1"}
        await client.delete({"kind": "Pod", "metadata": seen})
    await client.close()
    assert written == [(Write("delete", "Pod", "default", "digits-1-0", status=False), NO_ANSWER)]


async def at_rest(cluster: Cluster, liveness: str, renewals: int) -> None:
    """Wait for `renewals` renewals of the Lease while polling the liveness endpoint."""
    seen: set[str] = set()
    async with asyncio.timeout(DEADLINE), aiohttp.ClientSession() as session:
        while len(seen) <= renewals:
            async with session.get(liveness) as answer:
                assert answer.status == 200
            lease = await cluster.requests.send("GET", KINDS["Lease"].path("default", "trainserve-operator"))
            seen.add(lease["spec"]["renewTime"])
            await asyncio.sleep(0.5)


async def test_a_process_writes_a_line_for_each_transition_and_none_at_rest(
    cluster: Cluster, environment: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    async with process(log) as liveness:
        job = await cluster.create("TrainJob", trainjob())
        await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Pending")
        await cluster.set_status("Pod", "digits-1-0", RUNNING)
        await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Running")
        await cluster.set_status("Pod", "digits-1-0", ended(0, said_published(cluster, 1), reason="Completed"))
        await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Complete")
        await cluster.create("ModelServe", serve(trainJob="digits"))
        await cluster.wait("ModelServe", "web", lambda web: web["status"]["phase"] == "Starting")
        counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas", "readyReplicas"), 1)
        await cluster.set_status("Deployment", f"web-{DIGEST[7:17]}", {"observedGeneration": 1, **counts})
        await cluster.wait("ModelServe", "web", lambda web: web["status"]["phase"] == "Ready")
        await at_rest(cluster, liveness, renewals=1)
        before = lines(log, cluster.namespace)
        await at_rest(cluster, liveness, renewals=2)
        assert lines(log, cluster.namespace) == before
    told = [line for line in before if "from" in line]
    named = {"kind": "TrainJob", "namespace": cluster.namespace, "name": "digits", "uid": job["metadata"]["uid"]}
    assert (told[0]["object"], told[0]["severity"]) == (named, "info")
    parts = [[line.get(part) for part in ("from", "to", "reason", "attempt", "version")] for line in told]
    assert [(line["object"]["kind"], *found) for line, found in zip(told, parts, strict=True)] == [
        ("TrainJob", "New", "Pending", "Pending", 1, None),
        ("TrainJob", "Pending", "Running", "Running", 1, None),
        ("TrainJob", "Running", "Complete", "Succeeded", 1, 1),
        ("ModelServe", "New", "Starting", "RollingOut", None, None),
        ("ModelServe", "Starting", "Ready", "Serving", None, 1),
    ]
    of_process = [line["message"] for line in before if "object" not in line]
    assert len(of_process) == 2, "where its metrics are, and that it holds the lease"
