"""Hostile objects and users: they affect no other object, and every refusal is reported."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import pytest

from tests.operator.live import DEADLINE, Cluster
from tests.operator.support import RUNNING, command_job, condition, trainjob
from trainserve.api.open_fields import MAX_BYTES
from trainserve.operator.cache import ABRIDGED
from trainserve.operator.engine import Engine
from trainserve.operator.labels import MANAGED_BY, MANAGER
from trainserve.operator.objects import Object
from trainserve.operator.plan import Plan
from trainserve.operator.rest import MERGE
from trainserve.operator.trainjob.kind import TrainJobs
from trainserve.operator.trainjob.observed import Observed

pytestmark = pytest.mark.cluster


async def test_an_error_in_a_plan_is_one_objects_own(
    cluster: Cluster, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned, failing = TrainJobs.plan, {"odd"}

    def plan(self: TrainJobs, observed: Observed, now: datetime) -> Plan:
        if observed.identity.name in failing:
            raise KeyError("nobody thought of this")
        return planned(self, observed, now)

    monkeypatch.setattr(TrainJobs, "plan", plan)
    await cluster.create("TrainJob", {**command_job(), "metadata": {"name": "odd"}})
    await cluster.create("TrainJob", command_job())
    odd = await cluster.wait("TrainJob", "odd", lambda job: job.get("status"))
    accepted = condition(odd["status"], "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "Internal")
    assert "KeyError: 'nobody thought of this'" in accepted["message"]
    await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Pending")
    failing.clear()
    await cluster.wait("TrainJob", "odd", lambda job: job["status"]["phase"] == "Pending")


async def test_a_job_that_somebodys_finalizer_keeps_stops_training_at_once(cluster: Cluster, engine: Engine) -> None:
    await cluster.create("TrainJob", command_job())
    await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Pending")
    held: Any = {"metadata": {"finalizers": ["example.org/hold"]}}
    await cluster.patch("TrainJob", "digits", held, content_type=MERGE)
    await cluster.set_status("Pod", "digits-1-0", RUNNING)
    await cluster.delete("TrainJob", "digits")
    # A pod without a node is removed as soon as it is deleted.
    async with asyncio.timeout(DEADLINE):
        while await cluster.get("Pod", "digits-1-0") is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert await cluster.get("TrainJob", "digits") is not None
    await cluster.patch("TrainJob", "digits", {"metadata": {"finalizers": None}}, content_type=MERGE)


async def test_what_was_orphaned_is_named_with_the_way_out(cluster: Cluster, engine: Engine) -> None:
    job = command_job()
    left: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "digits-1-0", "labels": {MANAGED_BY: MANAGER}},
        "spec": {"automountServiceAccountToken": False, "containers": [{"name": "trainer", "image": "mine"}]},
    }
    await cluster.create("Pod", left)
    await cluster.create("TrainJob", job)
    blocked = await cluster.wait("TrainJob", "digits", lambda job: job.get("status"))
    scheduled = condition(blocked["status"], "Scheduled")
    assert scheduled["reason"] == "NameTaken"
    assert f"kubectl -n {cluster.namespace} delete pod digits-1-0" in scheduled["message"]
    await cluster.delete("Pod", "digits-1-0")
    await cluster.wait("TrainJob", "digits", lambda job: condition(job["status"], "Scheduled")["reason"] == "Pending")


async def test_a_large_spec_is_read_when_it_is_planned_for_and_not_kept(cluster: Cluster, engine: Engine) -> None:
    options = {f"option{number}": "w" * 1000 for number in range(60)}
    own = {"script": "/opt/net.py:build", "options": options}
    await cluster.create("TrainJob", trainjob(model=own))
    await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Pending")
    made = await cluster.get("ConfigMap", "digits-1")
    assert made is not None and len(made["data"]["config.json"]) > 60_000
    known = engine._cache.get("TrainJob", cluster.namespace, "digits")
    assert known is not None and known[ABRIDGED] and known["spec"]["output"] == {"model": "digits"}
    assert len(str(known)) < 8000
    more = trainjob(name="more", model=own)
    more["spec"]["dataset"] = {"uri": "s3://b/x.parquet"}
    more["spec"]["dataset"]["options"] = {f"option{number}": "w" * 1000 for number in range(10)}
    await cluster.create("TrainJob", more)
    refused = await cluster.wait("TrainJob", "more", lambda job: job.get("status"))
    assert f"at most {MAX_BYTES} are allowed" in condition(refused["status"], "Accepted")["message"]
