"""The objects built for a run match docs/contracts.md."""

from __future__ import annotations

import json

import pytest

from tests.operator.builders_support import (
    SERVE,
    VERSION,
    env,
    mounts,
    objects,
    pod_spec,
    run,
    serving_pod,
    settings,
    store_mounts,
)
from tests.operator.support import DIGEST, SETTINGS, command_job, trainjob
from trainserve.api.modelserve import ModelServeSpec
from trainserve.api.trainjob import TrainJobSpec
from trainserve.operator.modelserve import builders as serving
from trainserve.operator.modelserve.version import Version
from trainserve.operator.objects import Object
from trainserve.operator.settings import Settings
from trainserve.operator.trainjob.config import run_config


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
    ("resources", "size"),
    [
        ({"memory": "8Gi"}, 2 * 2**30),
        ({"memory": "1e9"}, 250_000_000),
        ({"memory": "100Mi"}, 64 * 2**20),
        ({}, 2**30),
    ],
)
def test_shared_memory_has_room_for_a_quarter_of_the_limit(resources: Object, size: int) -> None:
    spec = pod_spec(trainjob(resources=resources))
    (volume,) = [each["emptyDir"] for each in spec["volumes"] if each["name"] == "shm"]
    assert (volume["medium"], int(volume["sizeLimit"])) == ("Memory", size)
    assert mounts(spec)["/dev/shm"] == ("shm", False)


def test_a_command_of_the_users_own_has_shared_memory_too_and_works_where_its_image_says() -> None:
    spec = pod_spec(command_job())
    assert mounts(spec)["/dev/shm"] == ("shm", False)
    assert "workingDir" not in spec["containers"][0]


def test_a_run_works_in_a_folder_of_its_own() -> None:
    spec = pod_spec(trainjob())
    folder = spec["containers"][0]["workingDir"]
    assert mounts(spec)[folder] == ("work", False)
    assert env(spec["containers"][0])["TRAINSERVE_WORK"] == folder
    assert {"name": "work", "emptyDir": {"sizeLimit": "100Gi"}} in spec["volumes"]


def test_a_script_has_its_arguments_and_its_variables_word_by_word() -> None:
    model = {"script": "/opt/train.py", "args": ["--lr", "$(HOME)"], "env": [{"name": "LR", "value": "$(POD_IP) $x"}]}
    spec, config = run(model=model)
    assert config["model"] == model
    assert env(spec["containers"][0])["LR"] == "$$(POD_IP) $$x"


@pytest.mark.parametrize(
    ("store", "volume"),
    [
        ("pvc://models", {"persistentVolumeClaim": {"claimName": "models"}}),
        ("file:///srv/models", {"hostPath": {"path": "/srv/models", "type": "DirectoryOrCreate"}}),
    ],
)
def test_of_a_store_on_a_volume_a_pod_has_its_own_namespaces_folders_alone(store: str, volume: Object) -> None:
    known, root = settings(store), "/var/lib/trainserve/store"
    spec = pod_spec(trainjob(), known)
    assert {"name": "store", **volume} in spec["volumes"]
    own = {"name": "store", "mountPath": f"{root}/default", "subPath": "default"}
    checkpoints = {"name": "store", "mountPath": f"{root}/.checkpoints/default", "subPath": ".checkpoints/default"}
    assert store_mounts(spec["containers"][0]) == [own | {"readOnly": False}, checkpoints | {"readOnly": False}]
    served = serving_pod(known, Version("digits", 3, f"{store}/default/digits/3", DIGEST))
    assert store_mounts(served["initContainers"][0]) == [own | {"readOnly": True}]
    assert [store_mounts(container) for container in served["containers"]] == [[], []]
    resolver = serving.resolver_pod(SERVE, ModelServeSpec.model_validate({"model": {"name": "digits"}}), known)
    assert store_mounts(resolver["spec"]["containers"][0]) == [own | {"readOnly": True}]


def test_a_store_on_s3_is_reached_with_the_namespaces_secret() -> None:
    remote = settings("s3://bucket/models/", TRAINSERVE_STORE_SECRET="s3-keys")
    spec = pod_spec(trainjob(), remote)
    names = [volume["name"] for volume in spec["volumes"]]
    assert names == ["output", "cache", "work", "config", "credentials", "shm", "tmp"]
    assert spec["containers"][0]["envFrom"] == [{"secretRef": {"name": "s3-keys", "optional": True}}]
    job = trainjob()
    config = run_config(job, TrainJobSpec.model_validate(job["spec"]), 1, remote)
    assert config["store"] == {"root": "s3://bucket/models", "publicRoot": "s3://bucket/models"}


def test_a_data_set_on_a_claim_is_mounted_read_only_and_named_in_the_file() -> None:
    spec, config = run(dataset={"uri": "pvc://data/sets/a.npz"})
    assert config["dataset"] == {
        "uri": "pvc://data/sets/a.npz",
        "path": "/var/lib/trainserve/data/sets/a.npz",
    }
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "data", "readOnly": True}} in spec["volumes"]
    assert mounts(spec)["/var/lib/trainserve/data"] == ("data", True)


@pytest.mark.parametrize("uri", ["s3://bucket/sets/a.npz", "https://host/sets/a.npz"])
def test_a_data_set_elsewhere_is_fetched_by_the_pod_into_a_cache_of_its_own(uri: str) -> None:
    digest = "sha256:" + 64 * "0"
    spec, config = run(settings("pvc://models", TRAINSERVE_STORE_SECRET="keys"), dataset={"uri": uri, "digest": digest})
    assert config["dataset"] == {"uri": uri, "digest": digest}
    (container,) = spec["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "keys", "optional": True}}]
    assert mounts(spec)[env(container)["TRAINSERVE_CACHE"]] == ("cache", False)
    assert {"name": "cache", "emptyDir": {"sizeLimit": "100Gi"}} in spec["volumes"]


def test_weights_to_start_from_are_mounted_where_the_file_says() -> None:
    digest = "sha256:" + 64 * "0"
    uri = "pvc://weights/resnet.safetensors"
    spec, config = run(model={"name": "resnet18", "pretrained": {"uri": uri, "digest": digest}, "freeze": ["stem.*"]})
    assert config["model"] == {
        "name": "resnet18",
        "pretrained": {"uri": uri, "digest": digest, "path": "/var/lib/trainserve/pretrained/resnet.safetensors"},
        "freeze": ["stem.*"],
    }
    assert mounts(spec)["/var/lib/trainserve/pretrained"] == ("pretrained", True)


def test_weights_elsewhere_are_left_to_the_pod() -> None:
    _, config = run(model={"name": "resnet18", "pretrained": {"uri": "s3://weights/resnet.safetensors"}})
    assert config["model"]["pretrained"] == {"uri": "s3://weights/resnet.safetensors"}


@pytest.mark.parametrize(
    ("script", "path", "volume"),
    [
        ("configmap://code/net.py:build", "/var/lib/trainserve/script/net.py:build", {"configMap": {"name": "code"}}),
        (
            "pvc://code/src/train.py",
            "/var/lib/trainserve/script/src/train.py",
            {"persistentVolumeClaim": {"claimName": "code", "readOnly": True}},
        ),
        ("/opt/train.py", "/opt/train.py", None),
    ],
)
def test_a_script_is_mounted_read_only_and_run_as_the_trainer_is(script: str, path: str, volume: Object | None) -> None:
    spec, config = run(model={"script": script, "image": "mine"})
    assert config["model"] == {"script": path}
    (container,) = spec["containers"]
    assert (container["image"], container["command"][:3]) == ("mine", ["python", "-m", "trainserve.models"])
    scripts = [found for found in spec["volumes"] if found["name"] == "script"]
    assert scripts == ([] if volume is None else [{"name": "script", **volume}])
    assert mounts(spec).get("/var/lib/trainserve/script") == (None if volume is None else ("script", True))


def test_a_claim_named_twice_is_one_volume_mounted_twice() -> None:
    spec, _ = run(
        settings("pvc://shared"),
        model={"name": "convnet", "pretrained": {"uri": "pvc://shared/a.pt"}},
        dataset={"uri": "pvc://shared/a.npz"},
    )
    claims = [volume for volume in spec["volumes"] if "persistentVolumeClaim" in volume]
    assert claims == [{"name": "store", "persistentVolumeClaim": {"claimName": "shared"}}]
    assert {path: mount for path, mount in mounts(spec).items() if mount[0] == "store"} == {
        "/var/lib/trainserve/store/default": ("store", False),
        "/var/lib/trainserve/store/.checkpoints/default": ("store", False),
        "/var/lib/trainserve/data": ("store", True),
        "/var/lib/trainserve/pretrained": ("store", True),
    }


def test_checkpoints_lie_beside_the_store_in_a_folder_that_every_attempt_finds() -> None:
    job = trainjob(checkpoint={"everyEpochs": 2})
    spec = TrainJobSpec.model_validate(job["spec"])
    first, second = (run_config(job, spec, attempt, SETTINGS)["checkpoint"] for attempt in (1, 2))
    folder = "/var/lib/trainserve/store/.checkpoints/default/job-uid"
    assert first == second == {"folder": folder, "everyEpochs": 2}


def test_what_the_operator_alone_acts_on_is_not_told_to_the_pod() -> None:
    _, config = run(workers={"nodes": 2}, resources={"gpus": 1}, policy={"retries": 0}, trainer={"epochs": 3})
    assert config.keys() == {"job", "store", "model", "dataset", "trainer", "output"}


def test_what_is_as_it_is_by_default_is_not_told_to_the_pod() -> None:
    written_out = {"epochs": 5, "optimizer": "sgd", "momentum": 0.9}
    _, config = run(trainer=written_out, export={"opset": 18}, gates={}, checkpoint={"keep": 2})
    assert config["trainer"] == {"optimizer": "sgd"}
    assert "export" not in config and config["checkpoint"].keys() == {"folder"}


def test_gpus_and_their_kind_become_resources_and_affinity() -> None:
    wanted = {"gpus": 2, "cpu": "2500m", "memory": "4Gi", "gpu": {"product": ["NVIDIA-H200"], "minMemory": "40Gi"}}
    spec = pod_spec(trainjob(resources=wanted))
    container = spec["containers"][0]
    assert container["resources"]["limits"] == {"cpu": "2500m", "memory": "4Gi", "nvidia.com/gpu": "2"}
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert env(container)["OMP_NUM_THREADS"] == "1", "a process for each GPU, and all of them share the cores"
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
    assert [volume["name"] for volume in spec["volumes"]] == ["output", "shm", "tmp"]
    assert "envFrom" not in spec["containers"][0]


def test_pods_say_where_their_metrics_are_only_when_annotations_are_asked_for() -> None:
    asked = settings("file:///srv/models", TRAINSERVE_SCRAPE_ANNOTATIONS="true")
    spec = ModelServeSpec.model_validate({"model": {"name": "digits"}})

    def scraped(annotations: dict[str, str]) -> dict[str, str]:
        return {name: value for name, value in annotations.items() if name.startswith("prometheus.io/")}

    def of_serving(settings: Settings) -> dict[str, str]:
        template = serving.deployment(SERVE, spec, VERSION, settings)["spec"]["template"]
        return scraped(template["metadata"]["annotations"])

    _, _, first, second = objects(trainjob(workers={"nodes": 2}), asked)
    scrape = {"prometheus.io/scrape": "true", "prometheus.io/path": "/metrics"}
    assert scraped(first["metadata"]["annotations"]) == {**scrape, "prometheus.io/port": "9400"}
    assert scraped(second["metadata"]["annotations"]) == {}, "rank 0 speaks for the gang"
    assert scraped(objects(command_job(), asked)[-1]["metadata"]["annotations"]) == {}, "it serves no metrics"
    assert of_serving(asked) == {**scrape, "prometheus.io/port": "8002"}
    assert of_serving(SETTINGS) == scraped(objects(trainjob())[-1]["metadata"]["annotations"]) == {}


def test_a_containers_last_words_are_kept() -> None:
    pod = serving_pod()
    for container in pod["initContainers"] + pod["containers"]:
        assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_what_a_manifest_says_is_never_expanded_from_the_pods_environment() -> None:
    spec = ModelServeSpec.model_validate({"model": {"name": "digits"}})
    spec.triton.dynamic_batching.max_queue_delay = "$(AWS_SECRET_ACCESS_KEY)"
    (fetch,) = serving.deployment(SERVE, spec, VERSION, SETTINGS)["spec"]["template"]["spec"]["initContainers"]
    (chosen,) = [argument for argument in fetch["command"] if argument.startswith("{")]
    assert "$" not in chosen
    assert json.loads(chosen)["dynamicBatching"]["maxQueueDelay"] == "$(AWS_SECRET_ACCESS_KEY)"


def test_a_claim_of_roots_can_be_written_by_the_user_of_our_images() -> None:
    spec = pod_spec(trainjob(), settings("pvc://models"))
    assert spec["securityContext"]["fsGroup"] == 65532
    (container,) = spec["containers"]
    assert (container["securityContext"]["runAsUser"], container["securityContext"]["runAsNonRoot"]) == (65532, True)


def test_an_image_that_is_not_ours_runs_without_root_too() -> None:
    (container,) = pod_spec(command_job())["containers"]
    assert container["securityContext"]["runAsUser"] == 65532
    spec = ModelServeSpec.model_validate({"model": {"name": "digits"}})
    pod = serving.deployment(SERVE, spec, VERSION, SETTINGS)["spec"]["template"]["spec"]
    users = {each["name"]: each["securityContext"]["runAsUser"] for each in pod["initContainers"] + pod["containers"]}
    assert users == {"fetch": 65532, "triton": 1000, "probe": 65532}, "1000 is who NVIDIA's image is made for"
    assert pod["securityContext"]["fsGroup"] == 65532, "or triton could not read what fetch has written"


def test_training_pods_say_which_model_they_train_where_they_publish_one() -> None:
    for pod in objects(trainjob(workers={"nodes": 2}))[-2:]:
        assert pod["metadata"]["labels"]["trainserve.io/model"] == "digits"
    assert "trainserve.io/model" not in objects(command_job())[-1]["metadata"]["labels"]


def test_the_end_of_a_log_is_no_message_where_a_secret_may_stand_in_it() -> None:
    known = settings("pvc://models", TRAINSERVE_STORE_SECRET="keys")
    pod = serving_pod(known)
    (trainer,), (command,) = (pod_spec(job, known)["containers"] for job in (trainjob(), command_job()))
    given = [trainer, *pod["initContainers"]]
    assert all(container["envFrom"] and container["terminationMessagePolicy"] == "File" for container in given)
    for container in (command, *pod["containers"], *pod_spec(trainjob())["containers"]):
        assert "envFrom" not in container or not container["envFrom"]
        assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
