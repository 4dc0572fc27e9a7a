"""Invariants of every pod that the operator creates: the `restricted` profile, requests and limits, a spec's labels."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.operator.serving import Serve
from tests.operator.support import DIGEST, command_job, trainjob
from tests.pod_security import violations
from trainserve.api.modelserve import ModelServeSpec
from trainserve.api.trainjob import TrainJobSpec
from trainserve.operator import labels, shares
from trainserve.operator.blocked import Refusal
from trainserve.operator.cache import parents
from trainserve.operator.modelserve import builders, tuner
from trainserve.operator.modelserve.checks import accepted as serve_accepted
from trainserve.operator.modelserve.version import Version
from trainserve.operator.objects import Object
from trainserve.operator.settings import InvalidSetting, Settings
from trainserve.operator.specs import InvalidSpec, parse_modelserve, parse_trainjob
from trainserve.operator.trainjob.builders import attempt_objects
from trainserve.operator.trainjob.checks import accepted as job_accepted
from trainserve.operator.trainjob.observed import Observed
from trainserve.operator.workqueue import Key

JOBS: dict[str, Object] = {
    "zoo": trainjob(),
    "gang": trainjob(workers={"nodes": 2, "processesPerNode": 2}),
    "gpus": trainjob(resources={"gpus": 2}),
    "claims": trainjob(
        dataset={"uri": "pvc://data/a.npz"}, model={"name": "mlp", "pretrained": {"uri": "pvc://weights/a.pt"}}
    ),
    "script": trainjob(model={"script": "configmap://code/train.py", "image": "mine"}, dataset=None),
    "command": command_job(),
}
SERVE: Object = trainjob(name="web") | {"kind": "ModelServe", "spec": {}}
SERVES: dict[str, Object] = {
    "model": {"model": {"name": "digits"}, "slo": {"p99": "20ms"}},
    "gpus": {"model": {"name": "digits"}, "slo": {"p99": "20ms"}, "resources": {"gpus": 2}},
    "settings": {"model": {"name": "digits"}, "triton": {"ensemble": {"top": 2}, "responseCache": True}},
    "claim": {"model": {"uri": "pvc://models/a.onnx", "digest": DIGEST}},
    "web": {"model": {"uri": "https://models.example.org/a.onnx", "digest": DIGEST}},
}
CASES = [*(("job", name) for name in JOBS), *(("serve", name) for name in SERVES)]
PVC = Settings.from_environment({"TRAINSERVE_STORE_SECRET": "keys"})
S3 = Settings.from_environment({"TRAINSERVE_STORE": "s3://models"})


def pods(case: tuple[str, str], settings: Settings = PVC, **changes: Any) -> Iterator[Object]:
    """Yield every pod that the object leads to, including those that a Deployment creates from its template."""
    kind, name = case
    if kind == "job":
        job = JOBS[name] | {"spec": JOBS[name]["spec"] | changes}
        objects = attempt_objects(job, TrainJobSpec.model_validate(job["spec"]), 1, settings)
        yield from (wanted for wanted in objects if wanted["kind"] == "Pod")
        return
    spec = ModelServeSpec.model_validate(SERVES[name] | changes)
    version = Version("digits", 1, spec.model.uri or f"{settings.store.public}/default/digits/1", DIGEST)
    yield dict(builders.deployment(SERVE, spec, version, settings)["spec"]["template"])
    if spec.model.name is not None:
        yield builders.resolver_pod(SERVE, spec, settings)
    if spec.slo is not None:
        yield tuner.pod(SERVE, "web-tune-1", spec, spec.slo, version, settings)


def containers(pod: Object) -> list[Object]:
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


@pytest.mark.parametrize("settings", [PVC, S3], ids=["claim", "s3"])
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_it_keeps_to_the_restricted_profile(case: tuple[str, str], settings: Settings) -> None:
    for pod in pods(case, settings):
        assert violations(pod["spec"]) == []


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_it_writes_to_its_own_volumes_alone_and_each_of_them_has_a_most(case: tuple[str, str]) -> None:
    for pod in pods(case, Settings.from_environment({"TRAINSERVE_SCRATCH": "7Gi"})):
        empty = {each["name"]: each["emptyDir"] for each in pod["spec"]["volumes"] if "emptyDir" in each}
        assert all(each["sizeLimit"] for each in empty.values())
        assert {name: each["sizeLimit"] for name, each in empty.items() if name != "shm"} == dict.fromkeys(
            empty.keys() - {"shm"}, "7Gi"
        )
        for container in containers(pod):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_what_fetches_resolves_probes_and_tunes_has_an_image_of_its_own(case: tuple[str, str]) -> None:
    images = {"TRAINSERVE_TRAINER_IMAGE": "a/trainer", "TRAINSERVE_SERVING_IMAGE": "a/serving"}
    own = {"trainer": ("a/trainer", "mine"), "triton": (Settings.from_environment({}).triton_image,)}
    for pod in pods(case, Settings.from_environment(images)):
        for container in containers(pod):
            assert container["image"] in own.get(container["name"], ("a/serving",)), container["name"]


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_who_reads_what_others_made_is_told_how_large_it_may_be(case: tuple[str, str]) -> None:
    said = {"name": "TRAINSERVE_LIMITS", "value": '{"picture": 9}'}
    for pod in pods(case, Settings.from_environment({said["name"]: said["value"]})):
        for container in containers(pod):
            reads = container["name"] not in ("triton", "resolve") and case != ("job", "command")
            assert (said in container.get("env", [])) is reads, container["name"]
    with pytest.raises(InvalidSetting, match=r"TRAINSERVE_LIMITS=.*picture"):
        Settings.from_environment({said["name"]: '{"picture": 0}'})


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_a_spec_loosens_the_containers_of_its_own_image_and_no_others(case: tuple[str, str]) -> None:
    loose = {"securityContext": {"readOnlyRootFilesystem": False, "runAsUser": 0}}
    for plain, pod in zip(pods(case), pods(case, pod=loose), strict=True):
        for before, after in zip(containers(plain), containers(pod), strict=True):
            changed = {"readOnlyRootFilesystem": False, "runAsNonRoot": False, "runAsUser": 0, "runAsGroup": 0}
            own = changed if after["name"] in ("trainer", "triton") else {}
            assert after["securityContext"] == before["securityContext"] | own
        assert pod["spec"]["securityContext"] == plain["spec"]["securityContext"]


@pytest.mark.parametrize("field", ["privileged", "capabilities", "allowPrivilegeEscalation", "seccompProfile"])
def test_nothing_else_of_it_can_be_loosened(field: str) -> None:
    with pytest.raises(InvalidSpec, match=f"spec.pod.securityContext.{field}: unknown field"):
        parse_trainjob(trainjob(pod={"securityContext": {field: True}}))


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_what_is_done_to_one_pod_is_done_to_no_other(case: tuple[str, str]) -> None:
    made = list(pods(case))
    before = copy.deepcopy(made)
    for pod in made:
        empty(pod)
    assert list(pods(case)) == before


def empty(value: Any) -> None:
    """Empty every mapping and list in `value`."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            empty(each)
        value.clear()


def test_the_check_of_the_profile_finds_what_is_taken_away() -> None:
    (pod,) = pods(("job", "zoo"))
    (container,) = containers(pod)
    del pod["spec"]["securityContext"]["seccompProfile"]
    container["securityContext"] = {"runAsUser": 0, "capabilities": {"add": ["SYS_ADMIN"]}}
    pod["spec"]["volumes"].append({"name": "node", "hostPath": {"path": "/"}})
    assert violations(pod["spec"]) == [
        "volume node is of hostPath",
        "containers.trainer: allowPrivilegeEscalation is not false",
        "containers.trainer: capabilities.drop has no ALL",
        "containers.trainer: capabilities.add",
        "containers.trainer: runAsNonRoot is not true",
        "containers.trainer: seccompProfile",
        "containers.trainer: runAsUser is 0",
    ]


@pytest.mark.parametrize("said", [{}, {"cpu": "3"}, {"memory": "9Gi"}, {"cpu": "3", "memory": "9Gi"}], ids=str)
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_every_container_says_what_it_asks_for_and_its_most(case: tuple[str, str], said: Object) -> None:
    gpus = 2 if case[1] == "gpus" else 0
    for pod in pods(case, resources={"gpus": gpus, **said}):
        for container in containers(pod):
            requests, limits = (container["resources"][kind] for kind in ("requests", "limits"))
            assert {"cpu", "memory"} <= requests.keys() == limits.keys()
            if container["name"] in ("trainer", "triton"):
                assert requests.items() >= said.items() <= limits.items()


def test_more_gpus_have_more_of_what_nobody_said() -> None:
    (pod,) = pods(("job", "gpus"))
    (container,) = containers(pod)
    assert container["resources"] == {
        "requests": {"cpu": "500m", "memory": str(2**30), "nvidia.com/gpu": "2"},
        "limits": {"cpu": "4000m", "memory": str(8 * 2**30), "nvidia.com/gpu": "2"},
    }


def test_what_fetches_may_use_what_the_server_after_it_gets() -> None:
    pod, *_ = pods(("serve", "model"), resources={"cpu": "100m", "memory": "3e9"})
    fetch, triton, _ = containers(pod)
    assert triton["resources"]["limits"] == {"cpu": "100m", "memory": "3e9"}
    assert fetch["resources"] == {
        "requests": {"cpu": "100m", "memory": "3e9"},
        "limits": {"cpu": "500m", "memory": "3e9"},
    }


def test_the_chart_can_say_it_otherwise_or_leave_it_to_the_namespace() -> None:
    said = {"probe": {"requests": {"cpu": 0.2}, "limits": {"cpu": "1"}}, "triton": {"limits": {}}, "fetch": {}}
    settings = Settings.from_environment({"TRAINSERVE_POD_RESOURCES": json.dumps(said)})
    pod, resolver, _ = pods(("serve", "model"), settings)
    found = {container["name"]: container["resources"] for container in containers(pod) + containers(resolver)}
    assert found["probe"] == {"requests": {"cpu": "0.2"}, "limits": {"cpu": "1"}}
    assert found["triton"] == found["fetch"] == {}
    assert found["resolve"]["limits"].keys() == {"cpu", "memory"}
    assert shares.cpu_limit(ModelServeSpec.model_validate(SERVES["model"]).resources, settings.shares.triton) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Invalid JSON"),
        ('{"prober": {}}', "prober: unknown field; did you mean 'probe'"),
        (
            '{"probe": {"limits": {"cpu": "many"}}}',
            'probe.limits.cpu: "many" is not allowed; must be a quantity as in a Pod',
        ),
        ('{"probe": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}', "requests.cpu 2 is more than limits.cpu 1"),
    ],
)
def test_shares_that_cannot_be_meant_are_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        Settings.from_environment({"TRAINSERVE_POD_RESOURCES": text})
    assert "TRAINSERVE_POD_RESOURCES=" in str(refused.value)
    assert said in str(refused.value)


MESH = {
    "labels": {"kueue.x-k8s.io/queue-name": "vision", "app.kubernetes.io/name": "digits", "empty": ""},
    "annotations": {"sidecar.istio.io/inject": "false", "Example.ORG/words": "any text: $(POD_IP) ☃"},
}


OF_THE_SPEC = (labels.TEMPLATE, labels.SPEC_DIGESTS)
"""Annotations whose values depend on the spec."""


REPLICA_SET = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-abababab12-5f6d7", "uid": "set-uid"}
"""Owner of a Deployment's pods; the pod template does not contain it."""


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_labels_and_annotations_of_the_spec_reach_it_beside_our_own(case: tuple[str, str]) -> None:
    for plain, pod in zip(pods(case), pods(case, pod=MESH), strict=True):
        for field, asked in MESH.items():
            ours = {name: text for name, text in plain["metadata"].get(field, {}).items() if name not in OF_THE_SPEC}
            assert pod["metadata"][field].items() >= {**ours, **asked}.items()
        assert pod["spec"] == plain["spec"]
        owner = Key("TrainJob", "default", "digits") if case[0] == "job" else Key("ModelServe", "default", "web")
        found = {"namespace": "default", "ownerReferences": [REPLICA_SET], **pod["metadata"]}
        assert parents("Pod", {"metadata": found}) == [owner]


def test_a_deployments_own_labels_and_its_services_stay_as_they_are() -> None:
    version = Version("digits", 1, "pvc://trainserve-models/default/digits/1", DIGEST)
    plain, asked = (
        builders.deployment(SERVE, ModelServeSpec.model_validate(SERVES["model"] | change), version, PVC)
        for change in ({}, {"pod": MESH})
    )
    assert plain["metadata"]["labels"] == asked["metadata"]["labels"]
    assert plain["metadata"]["annotations"].keys() == asked["metadata"]["annotations"].keys()
    assert plain["spec"]["selector"] == asked["spec"]["selector"]
    job = trainjob(workers={"nodes": 2}, pod=MESH)
    objects = attempt_objects(job, TrainJobSpec.model_validate(job["spec"]), 1, PVC)
    for wanted in objects[:-2]:
        assert not MESH["labels"].keys() & wanted["metadata"]["labels"].keys(), wanted["kind"]


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("labels", "trainserve.io/trainjob"),
        ("labels", "trainserve.io/mine"),
        ("labels", "app.kubernetes.io/managed-by"),
        ("labels", "sub.trainserve.io/x"),
        ("annotations", "trainserve.io/template"),
        ("annotations", "TrainServe.io/template"),
    ],
)
@pytest.mark.parametrize("kind", ["TrainJob", "ModelServe"])
def test_a_name_of_the_operators_own_is_refused(kind: str, field: str, name: str) -> None:
    job = trainjob(pod={field: {name: "x"}})
    serve = {**SERVE, "spec": {"model": {"name": "digits"}, "pod": {field: {name: "x"}}}}
    with pytest.raises(InvalidSpec) as refused:
        parse_trainjob(job) if kind == "TrainJob" else parse_modelserve(serve)
    assert f'spec.pod.{field}.{name}: "{name}" is not allowed; must be another name' in str(refused.value)


@pytest.mark.parametrize(
    ("pod", "said"),
    [
        ({"labels": {"a b": "c"}}, "spec.pod.labels.a b"),
        ({"labels": {"Upper.org/name": "c"}}, "spec.pod.labels.Upper.org/name"),
        ({"labels": {"name": "c d"}}, "spec.pod.labels.name"),
        ({"labels": {"name": "c" * 64}}, "spec.pod.labels.name"),
        ({"labels": {"name": None}}, "spec.pod.labels.name"),
        ({"labels": {f"n{each}": "" for each in range(65)}}, "spec.pod.labels: "),
        ({"annotations": {"a/b/c": "d"}}, "spec.pod.annotations.a/b/c"),
        ({"annotations": {"a": 1}}, "spec.pod.annotations.a"),
        ({"annotations": {"n" * 64: ""}}, "spec.pod.annotations.nnn"),
        ({"annotations": {f"n{each}": "" for each in range(65)}}, "spec.pod.annotations: "),
        ({"annotation": {}}, "spec.pod.annotation: unknown field; did you mean 'annotations'"),
    ],
)
def test_what_no_pod_could_have_is_refused_by_name(pod: Object, said: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        parse_trainjob(trainjob(pod=pod))
    assert said in str(refused.value)


def test_annotations_for_a_prometheus_are_refused_where_the_operator_sets_them() -> None:
    pod = {"annotations": {"prometheus.io/scrape": "false"}}
    job = trainjob(pod=pod)
    serve = Serve(pod=pod)
    assert job_accepted(Observed.of(job, []), PVC) == Observed.of(job, []).spec
    assert serve_accepted(serve.observed(), PVC) == serve.observed().spec
    scraping = Settings.from_environment({"TRAINSERVE_SCRAPE_ANNOTATIONS": "true"})
    for refusal in (job_accepted(Observed.of(job, []), scraping), serve_accepted(serve.observed(), scraping)):
        assert isinstance(refusal, Refusal)
        assert refusal.message.startswith("spec.pod.annotations.prometheus.io/scrape: the operator sets it")
