"""The operator in this process, Kopf included, on a real API server; pods' states are written as a kubelet would."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import kopf
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.operator.support import DIGEST, PUBLISHED, RUNNING, command_job, condition, ended, trainjob
from trainserve.dev.kube import KINDS
from trainserve.operator import client as own
from trainserve.operator import main, rest
from trainserve.operator.api_error import ApiError, Refused
from trainserve.operator.engine import Engine
from trainserve.operator.objects import Object
from trainserve.operator.plan import Event
from trainserve.operator.resources import Resource
from trainserve.operator.rest import MERGE, STRATEGIC
from trainserve.operator.writes import NO_ANSWER, Write

pytestmark = pytest.mark.cluster

DEADLINE = 60.0


class Cluster:
    """One namespace of the API server, as its administrator sees it."""

    def __init__(self, requests: rest.Requests) -> None:
        self.requests = requests
        self.namespace = f"operator-{uuid.uuid4().hex[:8]}"

    def path(self, kind: str, name: str | None = None, subresource: str | None = None) -> str:
        return KINDS[kind].path(None if kind == "Namespace" else self.namespace, name, subresource)

    async def create(self, kind: str, wanted: Object) -> Object:
        fields = {name: value for name, value in wanted["metadata"].items() if name in ("name", "labels")}
        body = {**wanted, "metadata": {**fields, "namespace": self.namespace}}
        return await self.requests.send("POST", self.path(kind), KINDS[kind].typed(body))

    async def get(self, kind: str, name: str) -> Object | None:
        try:
            return await self.requests.send("GET", self.path(kind, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def patch(self, kind: str, name: str, change: Object, content_type: str = STRATEGIC) -> Object:
        return await self.requests.send("PATCH", self.path(kind, name), change, content_type=content_type)

    async def budget(self, name: str) -> Object:
        """The PodDisruptionBudget, in whichever version there is; empty when there is none."""
        for version in ("v1", "v1beta1"):
            resource = Resource("policy", version, "PodDisruptionBudget", "poddisruptionbudgets")
            with contextlib.suppress(Refused):
                return await self.requests.send("GET", resource.path(self.namespace, name))
        return {}

    async def delete(self, kind: str, name: str) -> None:
        await self.requests.send("DELETE", self.path(kind, name))

    async def list(self, kind: str) -> list[Object]:
        return list((await self.requests.send("GET", self.path(kind)))["items"])

    async def set_status(self, kind: str, name: str, status: Object) -> None:
        await self.requests.send("PATCH", self.path(kind, name, "status"), {"status": status}, content_type=MERGE)

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
    made = Cluster(rest.Requests(await rest.configuration(kubeconfig), "tests"))
    await made.requests.send("POST", made.path("Namespace"), {"metadata": {"name": made.namespace}})
    await made.create("ServiceAccount", {"metadata": {"name": "default"}})
    yield made
    await made.requests.close()


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
    assert [pod["metadata"]["name"] for pod in await cluster.list("Pod")] == ["digits-1-0"]


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
    # No kubelet is there: a pod without a node is gone as soon as it is deleted.
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
    counted = {"hard": {"pods": "0"}, "used": {"pods": "0"}}  # as the controller would, which is not here
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
    """Series that are not 0, by their labels' values in the order of the labels' names."""
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
        while "Complete" not in [event["reason"] for event in await cluster.list("Event")]:  # noqa: ASYNC110 - as above
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


@contextlib.asynccontextmanager
async def process(log: Path) -> AsyncIterator[str]:
    """The operator as a process of its own that logs as JSON; answers where it says that it lives."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        liveness = f"http://127.0.0.1:{free.getsockname()[1]}/healthz"
    command = [sys.executable, "-m", "kopf", "run", "-m", "trainserve.operator.main", "--all-namespaces"]
    with log.open("wb") as file:
        running = await asyncio.create_subprocess_exec(
            *command, f"--liveness={liveness}", "--log-format=json", stdout=file, stderr=file
        )
        try:
            yield liveness
        finally:
            running.terminate()
            await running.wait()


def lines(log: Path, namespace: str) -> list[Object]:
    """Of the process itself and of one namespace's objects: earlier tests left some that cannot get on."""
    read = [json.loads(line) for line in log.read_text().splitlines()]
    return [line for line in read if line.get("object", {}).get("namespace", namespace) == namespace]


async def at_rest(cluster: Cluster, liveness: str, renewals: int) -> None:
    """Returns when the Lease was renewed that often; meanwhile somebody asks whether the process lives."""
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


def serve(**model: Any) -> Object:
    """A ModelServe named web."""
    return {
        "apiVersion": "trainserve.io/v1alpha1",
        "kind": "ModelServe",
        "metadata": {"name": "web"},
        "spec": {"model": model},
    }


def said_published(cluster: Cluster, version: int, digest: str = DIGEST) -> Object:
    """What a run of that namespace says at its end."""
    uri = f"file:///srv/models/{cluster.namespace}/digits/{version}"
    return PUBLISHED | {"artifact": PUBLISHED["artifact"] | {"uri": uri, "version": version, "digest": digest}}


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
