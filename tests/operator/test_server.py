"""The operator with Kopf in this process, on a real API server; the tests write pods' statuses in a kubelet's place."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest

from tests.operator.live import DEADLINE, Cluster, operator, said_published, serve
from tests.operator.support import DIGEST, RUNNING, command_job, condition, ended, trainjob
from trainserve.operator import client as own
from trainserve.operator.engine import Engine
from trainserve.operator.objects import Object
from trainserve.operator.plan import Event
from trainserve.operator.rest import MERGE

pytestmark = pytest.mark.cluster


async def test_a_command_runs_to_completion_with_few_writes(cluster: Cluster, engine: Engine) -> None:
    await cluster.create("TrainJob", command_job())
    await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Pending")
    await cluster.set_status("Pod", "digits-1-0", ended(0, reason="Completed"))
    job = await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Complete")
    assert job["status"]["attempts"][0]["reason"] == "Succeeded"
    assert job["status"]["observedGeneration"] == job["metadata"]["generation"]
    assert await cluster.objects("ConfigMap") == []
    assert (await cluster.get("Pod", "digits-1-0") or {})["metadata"]["ownerReferences"][0]["uid"] == job["metadata"][
        "uid"
    ]
    assert await cluster.events() == ["Complete"]


async def test_a_restarted_operator_writes_nothing_that_is_not_new(cluster: Cluster, environment: str) -> None:
    async with operator():
        await cluster.create("TrainJob", trainjob())
        before = await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Pending")
    async with operator() as engine:
        await cluster.create("TrainJob", command_job() | {"metadata": {"name": "later"}})
        await cluster.wait("TrainJob", "later", lambda job: job["status"]["phase"] == "Pending")
        assert engine.health()["acting"]
        after = await cluster.get("TrainJob", "digits")
    assert after is not None
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


@pytest.mark.parametrize("away", [False, True], ids=["while the operator looks on", "while it is away"])
async def test_a_pod_that_has_lost_its_labels_is_followed_to_its_end(
    cluster: Cluster, environment: str, away: bool
) -> None:
    strip = {"metadata": {"labels": None}}
    async with contextlib.AsyncExitStack() as first:
        await first.enter_async_context(operator())
        await cluster.create("TrainJob", command_job())
        await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Pending")
        if away:
            await first.aclose()
        await cluster.patch("Pod", "digits-1-0", strip, MERGE)
        await cluster.set_status("Pod", "digits-1-0", RUNNING)
        if away:
            await first.enter_async_context(operator())
        await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Running")
        await cluster.set_status("Pod", "digits-1-0", ended(0, reason="Completed"))
        job = await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Complete")
    assert [attempt["number"] for attempt in job["status"]["attempts"]] == [1]
    assert [pod["metadata"]["name"] for pod in await cluster.objects("Pod")] == ["digits-1-0"]


async def test_a_gang_of_which_one_has_lost_its_labels_is_stopped_as_a_whole(cluster: Cluster, engine: Engine) -> None:
    job = command_job(workers={"nodes": 2})
    await cluster.create("TrainJob", job)
    await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Pending")
    await cluster.patch("Pod", "digits-1-1", {"metadata": {"labels": None}}, MERGE)
    for name in ("digits-1-0", "digits-1-1"):
        await cluster.set_status("Pod", name, RUNNING)
    await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Running")
    await cluster.set_status("Pod", "digits-1-0", ended(1))
    await cluster.wait("TrainJob", "digits", lambda job: job["status"]["attempts"][0]["reason"] == "UserError")
    # No kubelet runs: a pod without a node is removed as soon as it is deleted.
    async with asyncio.timeout(DEADLINE):
        while await cluster.get("Pod", "digits-1-1") is not None:  # noqa: ASYNC110 - the server tells nobody here
            await asyncio.sleep(0.02)


async def test_what_happened_while_the_operator_was_away_is_taken_up(cluster: Cluster, environment: str) -> None:
    async with operator():
        await cluster.create("TrainJob", trainjob())
        await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Pending")
    await cluster.set_status("Pod", "digits-1-0", ended(0, said_published(cluster, 1), reason="Completed"))
    async with operator():
        job = await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Complete")
    assert [attempt["number"] for attempt in job["status"]["attempts"]] == [1]
    assert job["status"]["artifact"]["digest"] == DIGEST


@pytest.mark.parametrize(
    "message",
    [
        "[" * 4000,
        {"outcome": "Trained", "progress": {"step": 10**30}},
        {"outcome": "Trained", "progress": {"updatedTime": "yesterday"}},
        {"outcome": "Trained", "result": {"precision": "", "energy": {"reason": ""}}},
        {"outcome": "Trained", "result": {"accuracy": 1e308, "loss": -1e308}},
    ],
    ids=["nested", "huge", "no instant", "empty", "large"],
)
async def test_whatever_a_pod_says_at_its_end_the_job_ends(cluster: Cluster, engine: Engine, message: Any) -> None:
    await cluster.create("TrainJob", command_job())
    await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Pending")
    await cluster.set_status("Pod", "digits-1-0", ended(0, message, reason="Completed"))
    await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Complete")


async def test_an_event_that_could_not_be_posted_at_once_is_posted_later(
    cluster: Cluster, environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell, failures = own.Client.tell, [OSError("connection reset"), OSError("connection reset")]

    async def flaky(self: own.Client, owner: Object, event: Event) -> None:
        if owner["metadata"]["namespace"] == cluster.namespace and failures:
            raise failures.pop()
        await tell(self, owner, event)

    monkeypatch.setattr(own.Client, "tell", flaky)
    async with operator():
        await cluster.create("TrainJob", command_job())
        await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Pending")
        await cluster.set_status("Pod", "digits-1-0", ended(0, reason="Completed"))
        await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Complete")
        assert await cluster.events() == ["Complete"]
    assert not failures


async def test_a_trainers_configuration_reaches_it_as_one_file(cluster: Cluster, engine: Engine) -> None:
    await cluster.create("TrainJob", trainjob(gates={"minAccuracy": 0.9}))
    config = await cluster.wait("ConfigMap", "digits-1", lambda config: config["data"])
    read = json.loads(config["data"]["config.json"])
    assert read["store"] == {"root": "/var/lib/trainserve/store", "publicRoot": "file:///srv/models"}
    assert (read["model"], read["output"], read["gates"]) == (
        {"name": "convnet"},
        {"model": "digits"},
        {"minAccuracy": 0.9},
    )
    assert read["job"]["attempt"] == 1


async def test_the_server_takes_the_deployment_and_the_service_as_planned(cluster: Cluster, engine: Engine) -> None:
    await cluster.create("TrainJob", trainjob())
    await cluster.create("ModelServe", serve(trainJob="digits"))
    await cluster.wait("Pod", "digits-1-0", lambda pod: pod["metadata"])
    waiting = await cluster.wait("ModelServe", "web", lambda web: condition(web["status"], "ModelResolved"))
    assert condition(waiting["status"], "ModelResolved")["reason"] == "TrainJobNotComplete"
    await cluster.set_status("Pod", "digits-1-0", ended(0, said_published(cluster, 1), reason="Completed"))
    name = f"web-{DIGEST[7:17]}"
    deployment = await cluster.wait("Deployment", name, lambda deployment: deployment["spec"])
    service = await cluster.wait("Service", "web", lambda service: service["spec"])
    assert [port["port"] for port in service["spec"]["ports"]] == [8000, 8001, 8002]
    assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    await cluster.create("TrainJob", command_job() | {"metadata": {"name": "later"}})
    await cluster.wait("TrainJob", "later", lambda job: job["status"]["phase"] == "Pending")
    assert (await cluster.get("Deployment", name) or {})["metadata"]["generation"] == 1, "applied once"


async def test_what_an_earlier_job_of_the_same_name_left_makes_way(cluster: Cluster, engine: Engine) -> None:
    """No controller runs beside this API server, so nothing is garbage-collected."""
    await cluster.create("TrainJob", trainjob(workers={"nodes": 2}))
    await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Pending")
    children = ("ConfigMap", "digits-1"), ("Service", "digits-1"), ("Pod", "digits-1-0"), ("Pod", "digits-1-1")
    before = {name: (await cluster.get(*name) or {})["metadata"]["uid"] for name in children}
    await cluster.delete("TrainJob", "digits")
    job = await cluster.create("TrainJob", trainjob(workers={"nodes": 2}))
    job = await cluster.wait("TrainJob", "digits", lambda job: job["status"]["attempts"])
    for name in children:
        child = (await cluster.get(*name) or {})["metadata"]
        assert child["uid"] != before[name]
        assert child["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
    assert "NameTaken" not in [event["reason"] for event in await cluster.objects("Event")]


async def test_what_an_earlier_service_of_the_same_name_left_makes_way(cluster: Cluster, engine: Engine) -> None:
    version = {"uri": f"file:///srv/models/{cluster.namespace}/digits/1", "digest": DIGEST}
    await cluster.create("ModelServe", serve(**version))
    await cluster.wait("Service", "web", lambda service: service["spec"])
    await cluster.delete("ModelServe", "web")
    web = await cluster.create("ModelServe", serve(**version))
    for kind, name in (("Deployment", f"web-{DIGEST[7:17]}"), ("Service", "web")):
        ours = await cluster.wait(
            kind, name, lambda child: child["metadata"]["ownerReferences"][0]["uid"] == web["metadata"]["uid"]
        )
        assert len(ours["metadata"]["ownerReferences"]) == 1


async def test_what_is_not_ours_stays_even_under_the_name_of_a_child(cluster: Cluster, engine: Engine) -> None:
    await cluster.create("ConfigMap", {"metadata": {"name": "digits-1"}, "data": {"theirs": "x"}})
    await cluster.create("TrainJob", trainjob())
    job = await cluster.wait(
        "TrainJob", "digits", lambda job: condition(job["status"], "Scheduled").get("reason") == "NameTaken"
    )
    assert (job["status"]["phase"], condition(job["status"], "Accepted")["status"]) == ("Pending", "True")
    assert (await cluster.get("ConfigMap", "digits-1") or {})["data"] == {"theirs": "x"}


async def test_what_the_server_rejects_is_said_in_its_words_until_it_is_taken(cluster: Cluster, engine: Engine) -> None:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    await cluster.create("ResourceQuota", quota)
    counted = {"hard": {"pods": "0"}, "used": {"pods": "0"}}  # as the quota controller, which does not run here, would
    await cluster.set_status("ResourceQuota", "none", counted)
    await cluster.create("TrainJob", command_job())
    job = await cluster.wait("TrainJob", "digits", lambda job: condition(job["status"], "Scheduled"))
    scheduled = condition(job["status"], "Scheduled")
    assert (scheduled["status"], scheduled["reason"], job["status"]["phase"]) == ("False", "Rejected", "Pending")
    assert "Pod" in scheduled["message"]
    assert "exceeded quota: none" in scheduled["message"]
    assert "attempts" not in job["status"]
    await cluster.delete("ResourceQuota", "none")
    job = await cluster.wait("TrainJob", "digits", lambda job: job["status"]["attempts"])
    assert condition(job["status"], "Scheduled")["reason"] == "Pending"


async def test_several_replicas_get_a_budget_in_a_version_that_the_server_has(cluster: Cluster, engine: Engine) -> None:
    spec = {"model": {"uri": f"file:///srv/models/{cluster.namespace}/digits/1", "digest": DIGEST}, "replicas": 2}
    await cluster.create("ModelServe", serve() | {"spec": spec})
    web = await cluster.wait("ModelServe", "web", lambda web: condition(web["status"], "DisruptionBudget"))
    assert condition(web["status"], "DisruptionBudget")["reason"] == "Guarded"
    budget = await cluster.budget("web")
    assert budget["spec"]["maxUnavailable"] == 1
    await cluster.patch("ModelServe", "web", {"spec": {"replicas": 1}}, MERGE)
    await cluster.wait(
        "ModelServe", "web", lambda web: condition(web["status"], "DisruptionBudget")["status"] == "False"
    )
    async with asyncio.timeout(DEADLINE):
        while await cluster.budget("web"):  # noqa: ASYNC110 - the server tells nobody here
            await asyncio.sleep(0.02)


async def test_what_somebody_else_changes_is_put_back_once(cluster: Cluster, engine: Engine) -> None:
    await cluster.create("ModelServe", serve(uri=f"file:///srv/models/{cluster.namespace}/digits/1", digest=DIGEST))
    name = f"web-{DIGEST[7:17]}"
    made = await cluster.wait("Deployment", name, lambda deployment: deployment["spec"])
    await cluster.wait("Service", "web", lambda service: service["spec"])
    triton = made["spec"]["template"]["spec"]["containers"][0]
    theirs = {"name": "triton", "command": ["sleep", "1000"]}
    await cluster.patch("Deployment", name, {"spec": {"template": {"spec": {"containers": [theirs]}}}})
    ports = [{"port": 8000, "name": "elsewhere"}]
    await cluster.patch("Service", "web", {"spec": {"ports": ports}})
    restored = await cluster.wait(
        "Deployment",
        name,
        lambda found: found["spec"]["template"]["spec"]["containers"][0]["command"] == triton["command"],
    )
    await cluster.wait("Service", "web", lambda web: [port["port"] for port in web["spec"]["ports"]][:1] == [8000])
    assert restored["metadata"]["generation"] == 3, "made, changed, put back"
    paused = await cluster.patch("Deployment", name, {"spec": {"minReadySeconds": 1}})
    await cluster.create("TrainJob", command_job())
    await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Pending")
    assert (await cluster.get("Deployment", name) or {})["metadata"]["generation"] == paused["metadata"][
        "generation"
    ], "what we do not set is theirs"


async def test_a_service_that_belongs_to_somebody_else_is_left_alone(cluster: Cluster, engine: Engine) -> None:
    foreign = {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}], "selector": {"app": "theirs"}}}
    await cluster.create("Service", foreign)
    job = await cluster.create("TrainJob", trainjob())
    artifact = said_published(cluster, 1)["artifact"]
    await cluster.set_status("TrainJob", job["metadata"]["name"], {"artifact": artifact})
    await cluster.create("ModelServe", serve(trainJob="digits"))
    web = await cluster.wait(
        "ModelServe", "web", lambda web: condition(web["status"], "Progressing").get("reason") == "NameTaken"
    )
    assert "Service" in condition(web["status"], "Progressing")["message"]
    ready = condition(web["status"], "Ready")
    assert (ready["status"], ready["reason"], web["status"]["phase"]) == ("False", "NameTaken", "Failed")
    assert ((await cluster.get("Service", "web")) or {})["spec"]["selector"] == {"app": "theirs"}


async def test_the_digests_of_published_versions_outlive_their_trainjobs_and_never_change(
    cluster: Cluster, engine: Engine
) -> None:
    page = "trainserve-versions.digits.0"
    other = DIGEST.replace("ab", "cd")
    for name, version, digest in (("one", 1, DIGEST), ("two", 2, other), ("forged", 1, other)):
        await cluster.create("TrainJob", trainjob(name=name))
        await cluster.wait("Pod", f"{name}-1-0", lambda pod: pod["metadata"])
        await cluster.set_status("Pod", f"{name}-1-0", ended(0, said_published(cluster, version, digest)))
        await cluster.wait("TrainJob", name, lambda job: job["status"]["phase"] == "Complete")
        assert str(version) in (await cluster.get("ConfigMap", page) or {})["data"], "before anybody takes the version"
    kept = await cluster.get("ConfigMap", page) or {}
    assert kept["data"] == {"1": DIGEST, "2": other}
    assert "ownerReferences" not in kept["metadata"]
    await cluster.delete("ConfigMap", page)
    anew = await cluster.wait("ConfigMap", page, lambda found: len(found["data"]) == 2)
    assert anew["data"]["2"] == other, "what a TrainJob says that is there is recorded anew"


async def test_a_record_that_is_somebody_elses_is_told_and_left_as_it_is(cluster: Cluster, engine: Engine) -> None:
    page = "trainserve-versions.digits.0"
    await cluster.create("ConfigMap", {"metadata": {"name": page}, "data": {"1": "theirs"}})
    await cluster.create("TrainJob", trainjob())
    await cluster.wait("Pod", "digits-1-0", lambda pod: pod["metadata"])
    await cluster.set_status("Pod", "digits-1-0", ended(0, said_published(cluster, 1)))
    job = await cluster.wait(
        "TrainJob", "digits", lambda job: condition(job["status"], "Scheduled").get("reason") == "NameTaken"
    )
    assert page in condition(job["status"], "Scheduled")["message"]
    assert (await cluster.get("ConfigMap", page) or {})["data"] == {"1": "theirs"}
