"""Two replicas of the operator on a real API server: one is suspended and resumes after the other has acted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from bench.pauses import Counts, Replicas, play
from tests.operator.live import Cluster, operator
from tests.operator.support import command_job, ended, trainjob
from trainserve.dev.kube import Client
from trainserve.operator import client as own
from trainserve.operator import labels
from trainserve.operator.blocked import Changed, NotHolding
from trainserve.operator.objects import Object
from trainserve.operator.plan import Event
from trainserve.operator.rest import MERGE

pytestmark = pytest.mark.cluster

QUICK = {"DURATION": 3.0, "RENEW_DEADLINE": 2.0, "RENEW_EVERY": 0.5, "RETRY_EVERY": 0.2}
"""The Lease's durations, divided by five."""

Write = Callable[[own.Client, Object, Object], Any]
"""A function of the client, a TrainJob and its child."""
WRITES: dict[str, Write] = {
    "status": lambda client, job, child: client.write_status(job, {"phase": "Pending"}),
    "apply": lambda client, job, child: client.apply(service(job, port=81), child),
    "delete": lambda client, job, child: client.delete(child),
    "delete by force": lambda client, job, child: client.delete(child, force=True),
}


@pytest.fixture
async def writer(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., own.Client]]:
    """A factory of the operator's API clients."""
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    made: list[own.Client] = []
    config = await own.kube_config()

    def make(may_write: Callable[[], bool] = lambda: True) -> own.Client:
        made.append(own.Client(config, lambda write, code: None, may_write))
        return made[-1]

    yield make
    for client in made:
        await client.close()


def service(job: Object, port: int) -> Object:
    """Return a Service that the job owns."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": labels.metadata(job, "digits-1", {labels.TRAINJOB: "digits"}),
        "spec": {"ports": [{"name": "http", "port": port, "targetPort": port, "protocol": "TCP"}]},
    }


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_that_was_planned_from_an_older_version_writes_nothing(
    cluster: Cluster,
    writer: Callable[..., own.Client],
    name: str,
) -> None:
    client = writer()
    job = await cluster.create("TrainJob", command_job()) | {"kind": "TrainJob", "apiVersion": "trainserve.io/v1alpha1"}
    child = await client.apply(service(job, port=80), None)
    for kind, made in (("TrainJob", "digits"), ("Service", "digits-1")):
        await cluster.patch(kind, made, {"metadata": {"labels": {"somebody": "else"}}}, MERGE)
    before = [await cluster.get("TrainJob", "digits"), await cluster.get("Service", "digits-1")]
    with pytest.raises(Changed, match="digits"):
        await WRITES[name](client, job, child)
    assert [await cluster.get("TrainJob", "digits"), await cluster.get("Service", "digits-1")] == before
    fresh = [{**(found or {}), "kind": kind} for found, kind in zip(before, ("TrainJob", "Service"), strict=True)]
    await WRITES[name](client, *fresh)


async def test_a_replica_whose_lease_is_not_current_writes_nothing_but_the_lease(
    cluster: Cluster,
    writer: Callable[..., own.Client],
) -> None:
    job = await cluster.create("TrainJob", command_job()) | {"kind": "TrainJob", "apiVersion": "trainserve.io/v1alpha1"}
    child = await writer().apply(service(job, port=80), None)
    client = writer(lambda: False)
    before = (await cluster.get("TrainJob", "digits") or {})["metadata"]["resourceVersion"]
    for write in WRITES.values():
        with pytest.raises(NotHolding):
            await write(client, job, child)
    with pytest.raises(NotHolding):
        await client.create(service(trainjob("other", job["metadata"]["uid"]), port=80))
    with pytest.raises(NotHolding):
        await client.tell(job, Event("Normal", "Told", "nothing", "nothing"))
    assert (await cluster.get("TrainJob", "digits") or {})["metadata"]["resourceVersion"] == before
    assert await cluster.objects("Event") == []
    lease = {"metadata": {"name": "a-lease", "namespace": cluster.namespace}, "spec": {"holderIdentity": "me"}}
    assert await client.put_lease(lease)


async def test_a_pod_that_was_there_already_and_ended_is_seen_though_no_event_tells_of_it_again(
    cluster: Cluster,
    environment: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create, loop = own.Client.create, asyncio.get_running_loop()

    async def ends(name: str) -> Object:
        await cluster.set_status("Pod", name, ended(0, reason="Completed"))
        return await cluster.get("Pod", name) or {}

    async def late(self: own.Client, wanted: Object) -> Object:
        made = await create(self, wanted)
        if wanted["kind"] != "Pod" or wanted["metadata"]["namespace"] != cluster.namespace:
            return made
        # The operator runs in its own thread and event loop.
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(ends(made["metadata"]["name"]), loop))

    monkeypatch.setattr(own.Client, "create", late)
    async with operator():
        await cluster.create("TrainJob", command_job())
        await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Complete")


async def test_what_somebody_changed_meanwhile_is_looked_at_again_and_kept(
    cluster: Cluster,
    environment: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_status, loop, conflicts = own.Client.write_status, asyncio.get_running_loop(), ["first"]
    label = {"metadata": {"labels": {"somebody": "else"}}}

    async def late(self: own.Client, owner: Object, change: Object) -> Object | None:
        if owner["metadata"]["namespace"] == cluster.namespace and conflicts:
            conflicts.pop()
            changed = cluster.patch("TrainJob", "digits", label, MERGE)
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(changed, loop))
        return await write_status(self, owner, change)

    monkeypatch.setattr(own.Client, "write_status", late)
    async with operator():
        await cluster.create("TrainJob", command_job())
        job = await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Pending")
    assert (job["metadata"]["labels"], conflicts) == ({"somebody": "else"}, [])
    assert [attempt["number"] for attempt in job["status"]["attempts"]] == [1]


def test_a_holder_that_was_stopped_and_wakes_fails_no_job_and_trains_none_again(
    kubeconfig: Path, tmp_path: Path
) -> None:
    replicas, counts = Replicas(kubeconfig, tmp_path, QUICK), Counts()
    replicas.keep()
    try:
        play(Client(kubeconfig), replicas, 10, 6.0, counts)
    finally:
        replicas.stop()
    assert (counts.complete, counts.failed, counts.again) == (10, 0, 0), counts.told
    assert "holds the lease" in (tmp_path / "operators.log").read_text()
