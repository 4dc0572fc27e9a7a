"""The operator in this process, Kopf included, on a real API server; pods' states are written as a kubelet would."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import kopf
import pytest
from lightkube import ApiError, AsyncClient, KubeConfig
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace, ResourceQuota, ServiceAccount
from lightkube.types import PatchType

from tests.operator.support import DIGEST, PUBLISHED, command_job, condition, ended, trainjob
from trainserve.operator import client as own
from trainserve.operator import main
from trainserve.operator.engine import Engine
from trainserve.operator.plan import Event, Object

pytestmark = pytest.mark.cluster

DEADLINE = 60.0


class Cluster:
    """One namespace of the API server, as its administrator sees it."""

    def __init__(self, kubeconfig: Path) -> None:
        self.client = AsyncClient(KubeConfig.from_file(kubeconfig).get(), trust_env=False)
        self.namespace = f"operator-{uuid.uuid4().hex[:8]}"

    async def create(self, kind: str, wanted: Object) -> Object:
        fields = {name: value for name, value in wanted["metadata"].items() if name in ("name", "labels")}
        body = {**wanted, "metadata": {**fields, "namespace": self.namespace}}
        return dict(await self.client.create(own.RESOURCES[kind](body)))

    async def get(self, kind: str, name: str) -> Object | None:
        try:
            return dict(await self.client.get(own.RESOURCES[kind], name, namespace=self.namespace))
        except ApiError as error:
            if error.status.code == 404:
                return None
            raise

    async def patch(self, kind: str, name: str, change: Object, patch_type: PatchType = PatchType.STRATEGIC) -> Object:
        return dict(
            await self.client.patch(own.RESOURCES[kind], name, change, namespace=self.namespace, patch_type=patch_type)
        )

    async def budget(self, name: str) -> Object:
        """The PodDisruptionBudget, in whichever version there is; empty when there is none."""
        for version in ("v1", "v1beta1"):
            resource = create_namespaced_resource("policy", version, "PodDisruptionBudget", "poddisruptionbudgets")
            with contextlib.suppress(ApiError):
                return dict(await self.client.get(resource, name, namespace=self.namespace))
        return {}

    async def delete(self, kind: str, name: str) -> None:
        await self.client.delete(own.RESOURCES[kind], name, namespace=self.namespace)

    async def list(self, kind: str) -> list[Object]:
        return [dict(found) async for found in self.client.list(own.RESOURCES[kind], namespace=self.namespace)]

    async def set_status(self, kind: str, name: str, status: Object) -> None:
        await self.client.patch(
            own.RESOURCES[kind].Status, name, {"status": status}, namespace=self.namespace, patch_type=PatchType.MERGE
        )

    async def events(self) -> list[str]:
        """Reasons of the namespace's events once there are any: they are posted after the status was written."""
        async with asyncio.timeout(DEADLINE):
            while not (told := await self.list("Event")):  # noqa: ASYNC110 - the server tells nobody here
                await asyncio.sleep(0.02)
        return [event["reason"] for event in told]

    async def wait(self, kind: str, name: str, until: Callable[[Object], Any]) -> Object:
        """The object once it exists and `until` holds."""
        async with asyncio.timeout(DEADLINE):
            while True:
                found = await self.get(kind, name)
                with contextlib.suppress(KeyError):
                    if found is not None and until(found):
                        return found
                await asyncio.sleep(0.02)


@pytest.fixture
async def cluster(kubeconfig: Path) -> AsyncIterator[Cluster]:
    """A namespace with the account that pods need, which no controller makes here."""
    made = Cluster(kubeconfig)
    await made.client.create(Namespace(metadata=ObjectMeta(name=made.namespace)))
    await made.client.create(ServiceAccount(metadata=ObjectMeta(name="default", namespace=made.namespace)))
    yield made
    await made.client.close()


@contextlib.asynccontextmanager
async def operator() -> AsyncIterator[Engine]:
    """The operator as `kopf run` runs it, until the block ends.

    In a thread with an event loop of its own: when Kopf stops, it cancels whatever tasks it finds.
    """
    memo, stop, ready = kopf.Memo(), threading.Event(), threading.Event()

    def run() -> None:
        asyncio.run(kopf.operator(clusterwide=True, memo=memo, stop_flag=stop, ready_flag=ready))

    running = asyncio.create_task(asyncio.to_thread(run))
    assert await asyncio.to_thread(ready.wait, DEADLINE)
    try:
        yield memo.engine
    finally:
        stop.set()
        await running


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, kubeconfig: Path) -> str:
    """The operator's environment; answers where it serves its metrics."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    for name, value in {
        "KUBECONFIG": str(kubeconfig),
        "TRAINSERVE_STORE": "file:///srv/models",
        "TRAINSERVE_METRICS_ADDRESS": address,
        "TRAINSERVE_LEASE_NAMESPACE": "default",
    }.items():
        monkeypatch.setenv(name, value)
    assert main.__name__ == "trainserve.operator.main", "its handlers are registered by importing it"
    return address


@pytest.fixture
async def engine(environment: str) -> AsyncIterator[Engine]:
    async with operator() as running:
        yield running


async def test_a_command_runs_to_completion_with_few_writes(cluster: Cluster, engine: Engine) -> None:
    await cluster.create("TrainJob", command_job())
    await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Pending")
    await cluster.set_status("Pod", "digits-1-0", ended(0, reason="Completed"))
    job = await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Complete")
    assert job["status"]["attempts"][0]["reason"] == "Succeeded"
    assert job["status"]["observedGeneration"] == job["metadata"]["generation"]
    assert await cluster.list("ConfigMap") == []
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


async def test_what_happened_while_the_operator_was_away_is_taken_up(cluster: Cluster, environment: str) -> None:
    async with operator():
        await cluster.create("TrainJob", trainjob())
        await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Pending")
    await cluster.set_status("Pod", "digits-1-0", ended(0, PUBLISHED, reason="Completed"))
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
    await cluster.set_status("Pod", "digits-1-0", ended(0, PUBLISHED, reason="Completed"))
    name = f"web-{DIGEST[7:17]}"
    deployment = await cluster.wait("Deployment", name, lambda deployment: deployment["spec"])
    service = await cluster.wait("Service", "web", lambda service: service["spec"])
    assert [port["port"] for port in service["spec"]["ports"]] == [8000, 8001, 8002]
    assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    await cluster.create("TrainJob", command_job() | {"metadata": {"name": "later"}})
    await cluster.wait("TrainJob", "later", lambda job: job["status"]["phase"] == "Pending")
    assert (await cluster.get("Deployment", name) or {})["metadata"]["generation"] == 1, "applied once"


async def test_what_an_earlier_job_of_the_same_name_left_makes_way(cluster: Cluster, engine: Engine) -> None:
    """Nothing collects garbage here: no controller runs beside this API server."""
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
    assert "NameTaken" not in [event["reason"] for event in await cluster.list("Event")]


async def test_what_an_earlier_service_of_the_same_name_left_makes_way(cluster: Cluster, engine: Engine) -> None:
    version = {"uri": "file:///srv/models/default/digits/1", "digest": DIGEST}
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
    await cluster.client.create(ResourceQuota.from_dict(quota), namespace=cluster.namespace)
    counted = {"status": {"hard": {"pods": "0"}, "used": {"pods": "0"}}}  # as the controller would, which is not here
    await cluster.client.patch(
        ResourceQuota.Status, "none", counted, namespace=cluster.namespace, patch_type=PatchType.MERGE
    )
    await cluster.create("TrainJob", command_job())
    job = await cluster.wait("TrainJob", "digits", lambda job: condition(job["status"], "Scheduled"))
    scheduled = condition(job["status"], "Scheduled")
    assert (scheduled["status"], scheduled["reason"], job["status"]["phase"]) == ("False", "Rejected", "Pending")
    assert "Pod" in scheduled["message"]
    assert "exceeded quota: none" in scheduled["message"]
    assert "attempts" not in job["status"]
    await cluster.client.delete(ResourceQuota, "none", namespace=cluster.namespace)
    job = await cluster.wait("TrainJob", "digits", lambda job: job["status"]["attempts"])
    assert condition(job["status"], "Scheduled")["reason"] == "Pending"


async def test_several_replicas_get_a_budget_in_a_version_that_the_server_has(cluster: Cluster, engine: Engine) -> None:
    spec = {"model": {"uri": "file:///srv/models/default/digits/1", "digest": DIGEST}, "replicas": 2}
    await cluster.create("ModelServe", serve() | {"spec": spec})
    web = await cluster.wait("ModelServe", "web", lambda web: condition(web["status"], "DisruptionBudget"))
    assert condition(web["status"], "DisruptionBudget")["reason"] == "Guarded"
    budget = await cluster.budget("web")
    assert budget["spec"]["maxUnavailable"] == 1
    await cluster.patch("ModelServe", "web", {"spec": {"replicas": 1}}, PatchType.MERGE)
    await cluster.wait(
        "ModelServe", "web", lambda web: condition(web["status"], "DisruptionBudget")["status"] == "False"
    )
    async with asyncio.timeout(DEADLINE):
        while await cluster.budget("web"):  # noqa: ASYNC110 - the server tells nobody here
            await asyncio.sleep(0.02)


async def test_what_somebody_else_changes_is_put_back_once(cluster: Cluster, engine: Engine) -> None:
    await cluster.create("ModelServe", serve(uri="file:///srv/models/default/digits/1", digest=DIGEST))
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
    artifact = PUBLISHED["artifact"]
    await cluster.set_status("TrainJob", job["metadata"]["name"], {"artifact": artifact})
    await cluster.create("ModelServe", serve(trainJob="digits"))
    web = await cluster.wait(
        "ModelServe", "web", lambda web: condition(web["status"], "Progressing").get("reason") == "NameTaken"
    )
    assert "Service" in condition(web["status"], "Progressing")["message"]
    ready = condition(web["status"], "Ready")
    assert (ready["status"], ready["reason"], web["status"]["phase"]) == ("False", "NameTaken", "Failed")
    assert ((await cluster.get("Service", "web")) or {})["spec"]["selector"] == {"app": "theirs"}


async def test_metrics_and_health_tell_how_it_goes(cluster: Cluster, engine: Engine, environment: str) -> None:
    await cluster.create("TrainJob", command_job())
    await cluster.wait("TrainJob", "digits", lambda job: job["status"]["phase"] == "Pending")
    async with aiohttp.ClientSession() as session, session.get(f"http://{environment}/metrics") as answer:
        text = await answer.text()
    assert 'trainserve_reconcile_total{kind="TrainJob",result="success"}' in text
    assert f'trainserve_trainjobs{{namespace="{cluster.namespace}",phase="Pending"}} 1.0' in text
    assert engine.health()["acting"]


def serve(**model: Any) -> Object:
    """A ModelServe named web."""
    return {
        "apiVersion": "trainserve.io/v1alpha1",
        "kind": "ModelServe",
        "metadata": {"name": "web"},
        "spec": {"model": model},
    }
