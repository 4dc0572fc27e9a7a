"""What pods are made of, as docs/contracts.md says it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.operator.support import DIGEST, SETTINGS, command_job, trainjob
from trainserve.api.modelserve import ModelServeSpec
from trainserve.api.trainjob import TrainJobSpec
from trainserve.operator.modelserve import builders as serving
from trainserve.operator.modelserve.version import Version, read
from trainserve.operator.plan import Object
from trainserve.operator.settings import Settings
from trainserve.operator.trainjob.builders import attempt_objects, run_config

SERVE: Object = trainjob(name="web") | {"kind": "ModelServe"}
VERSION = Version("digits", 3, "file:///srv/models/default/digits/3", DIGEST)


def objects(job: Object, settings: Settings = SETTINGS) -> list[Object]:
    return attempt_objects(job, TrainJobSpec.model_validate(job["spec"]), 1, settings)


def pod_spec(job: Object, settings: Settings = SETTINGS) -> Object:
    return dict(objects(job, settings)[-1]["spec"])


def settings(store: str, **more: str) -> Settings:
    return Settings.from_environment({"TRAINSERVE_STORE": store, **more})


def env(container: Object) -> dict[str, Any]:
    return {variable["name"]: variable.get("value") for variable in container["env"]}


def test_a_trainer_is_run_on_its_file_and_may_not_do_more_than_it_must() -> None:
    spec = pod_spec(trainjob())
    (container,) = spec["containers"]
    assert container["command"] == ["python", "-m", "trainserve.models", "/etc/trainserve/config.json"]
    assert (spec["restartPolicy"], spec["automountServiceAccountToken"]) == ("Never", False)
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert env(container)["TRAINSERVE_CONFIG"] == "/etc/trainserve/config.json"
    assert env(container)["TRAINSERVE_PROGRESS_PORT"] == "9400"
    assert {"POD_IP", "TRAINSERVE_OUTPUT"} <= env(container).keys()


@pytest.mark.parametrize(
    ("store", "volume"),
    [
        ("pvc://models", {"persistentVolumeClaim": {"claimName": "models"}}),
        ("file:///srv/models", {"hostPath": {"path": "/srv/models", "type": "DirectoryOrCreate"}}),
    ],
)
def test_a_store_on_a_volume_is_mounted(store: str, volume: Object) -> None:
    spec = pod_spec(trainjob(), settings(store))
    assert {"name": "store", **volume} in spec["volumes"]
    mounts = {mount["name"]: mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    assert mounts["store"] == "/var/lib/trainserve/store"


def test_a_store_on_s3_is_reached_with_the_namespaces_secret() -> None:
    remote = settings("s3://bucket/models/", TRAINSERVE_STORE_SECRET="s3-keys")
    spec = pod_spec(trainjob(), remote)
    assert [volume["name"] for volume in spec["volumes"]] == ["output", "config"]
    assert spec["containers"][0]["envFrom"] == [{"secretRef": {"name": "s3-keys", "optional": True}}]
    job = trainjob()
    config = run_config(job, TrainJobSpec.model_validate(job["spec"]), 1, remote)
    assert config["store"] == {"root": "s3://bucket/models", "publicRoot": "s3://bucket/models"}


def test_a_data_set_on_a_claim_is_mounted_read_only_and_named_in_the_file() -> None:
    config_map, pod = objects(trainjob(dataset={"uri": "pvc://data/sets/a.npz"}))
    assert json.loads(config_map["data"]["config.json"])["dataset"] == {
        "uri": "pvc://data/sets/a.npz",
        "path": "/var/lib/trainserve/data/sets/a.npz",
    }
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": "data", "readOnly": True}}
    assert claim in pod["spec"]["volumes"]


def test_gpus_and_their_kind_become_resources_and_affinity() -> None:
    wanted = {"gpus": 2, "cpu": "2500m", "memory": "4Gi", "gpu": {"product": ["NVIDIA-H200"], "minMemory": "40Gi"}}
    spec = pod_spec(trainjob(resources=wanted))
    container = spec["containers"][0]
    assert container["resources"]["limits"] == {"cpu": "2500m", "memory": "4Gi", "nvidia.com/gpu": "2"}
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert env(container)["OMP_NUM_THREADS"] == "2"
    required = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert required["nodeSelectorTerms"][0]["matchExpressions"] == [
        {"key": "nvidia.com/gpu.product", "operator": "In", "values": ["NVIDIA-H200"]},
        {"key": "nvidia.com/gpu.memory", "operator": "Gt", "values": ["40959"]},
    ]


def test_selectors_and_tolerations_are_handed_on() -> None:
    toleration = {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}
    spec = pod_spec(command_job(resources={"nodeSelector": {"zone": "a"}, "tolerations": [toleration]}))
    assert spec["nodeSelector"] == {"zone": "a"}
    assert spec["tolerations"] == [toleration]


def test_a_users_own_code_gets_neither_the_store_nor_its_credentials() -> None:
    spec = pod_spec(command_job(), settings("file:///srv/models", TRAINSERVE_STORE_SECRET="s3-keys"))
    assert [volume["name"] for volume in spec["volumes"]] == ["output"]
    assert "envFrom" not in spec["containers"][0]


def test_a_gang_meets_by_name_through_a_headless_service() -> None:
    _, service, first, second = objects(trainjob(workers={"nodes": 2}))
    assert (service["kind"], service["metadata"]["name"], service["spec"]["clusterIP"]) == (
        "Service",
        "digits-1",
        "None",
    )
    assert service["spec"]["selector"].items() <= second["metadata"]["labels"].items()
    assert (second["spec"]["hostname"], second["spec"]["subdomain"]) == ("digits-1-1", "digits-1")
    variables = env(second["spec"]["containers"][0])
    assert (variables["PET_NODE_RANK"], variables["PET_MASTER_ADDR"]) == ("1", "digits-1-0.digits-1")
    assert first["metadata"]["labels"]["trainserve.io/rank"] == "0"


def test_a_version_is_fetched_served_and_probed_by_the_contracts_commands() -> None:
    spec = ModelServeSpec.model_validate(
        {
            "model": {"name": "digits"},
            "resources": {"gpus": 2},
            "triton": {"dynamicBatching": {"maxBatch": 8, "maxQueueDelay": "1.5ms"}},
        }
    )
    deployment = serving.deployment(SERVE, spec, VERSION, SETTINGS)
    pod = deployment["spec"]["template"]["spec"]
    (fetch,), (triton, probe) = pod["initContainers"], pod["containers"]
    assert " ".join(fetch["command"]) == (
        "python -m trainserve.serving fetch --store /var/lib/trainserve/store --path default/digits/3"
        f" --digest {DIGEST} --into /var/run/trainserve --model-name digits --max-batch 8 --instances 1 --gpus 2"
        " --max-queue-delay-us 1500"
    )
    assert {"--http-address=$(POD_IP)", "--model-control-mode=none", "--strict-readiness=true"} <= set(
        triton["command"]
    )
    assert triton["livenessProbe"]["httpGet"] == {"path": "/livez", "port": 9401}
    assert " ".join(probe["command"]) == (
        "python -m trainserve.serving probe --version /var/run/trainserve/version --model-name digits"
        " --url $(POD_IP):8000 --listen $(POD_IP):9401 --samples 64"
    )
    assert read(deployment) == VERSION


def test_triton_has_time_to_drain_before_it_is_killed() -> None:
    pod = serving.deployment(SERVE, ModelServeSpec.model_validate({"model": {"name": "d"}}), VERSION, SETTINGS)
    grace = pod["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > serving.DRAIN_SECONDS + serving.EXIT_SECONDS


def test_what_was_applied_is_told_from_what_changed() -> None:
    spec = ModelServeSpec.model_validate({"model": {"name": "digits"}})
    applied = serving.deployment(SERVE, spec, VERSION, SETTINGS)
    assert serving.is_applied(serving.deployment(SERVE, spec, VERSION, SETTINGS), applied)
    more = ModelServeSpec.model_validate({"model": {"name": "digits"}, "triton": {"instances": 2}})
    assert not serving.is_applied(serving.deployment(SERVE, more, VERSION, SETTINGS), applied)
