"""What pods are made of, as docs/contracts.md says it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.operator.support import DIGEST, SETTINGS, command_job, trainjob
from trainserve.api.modelserve import ModelServeSpec
from trainserve.api.pod import TRITON_EXIT_SECONDS
from trainserve.api.trainjob import TrainJobSpec
from trainserve.operator.modelserve import builders as serving
from trainserve.operator.modelserve.pod import DRAIN_SECONDS
from trainserve.operator.modelserve.version import Version, read
from trainserve.operator.objects import Object
from trainserve.operator.settings import Settings
from trainserve.operator.trainjob.builders import attempt_objects
from trainserve.operator.trainjob.config import run_config
from trainserve.operator.trainjob.gang import port
from trainserve.serving.repository import repository
from trainserve.serving.repository.settings import Settings as ServingSettings

SERVE: Object = trainjob(name="web") | {"kind": "ModelServe"}
VERSION = Version("digits", 3, "file:///srv/models/default/digits/3", DIGEST)


def objects(job: Object, settings: Settings = SETTINGS) -> list[Object]:
    return attempt_objects(job, TrainJobSpec.model_validate(job["spec"]), 1, settings)


def pod_spec(job: Object, settings: Settings = SETTINGS) -> Object:
    return dict(objects(job, settings)[-1]["spec"])


def run(settings: Settings = SETTINGS, **spec: Any) -> tuple[Object, Object]:
    """Spec of rank 0's pod and the CONFIG.json that it reads."""
    created = objects(trainjob(**spec), settings)
    (pod, *_) = [wanted for wanted in created if wanted["kind"] == "Pod"]
    return pod["spec"], json.loads(created[0]["data"]["config.json"])


def mounts(spec: Object) -> dict[str, tuple[str, bool]]:
    """Volume and whether it is read-only, by the path where it is mounted."""
    (container,) = spec["containers"]
    return {each["mountPath"]: (each["name"], bool(each.get("readOnly"))) for each in container["volumeMounts"]}


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


def store_mounts(container: Object) -> list[Object]:
    return [mount for mount in container["volumeMounts"] if mount["name"] == "store"]


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


def test_a_gang_meets_by_name_through_a_headless_service() -> None:
    _, service, first, second = objects(trainjob(workers={"nodes": 2}))
    assert (service["kind"], service["metadata"]["name"], service["spec"]["clusterIP"]) == (
        "Service",
        "digits-1",
        "None",
    )
    assert service["spec"]["selector"].items() <= second["metadata"]["labels"].items()
    assert (second["spec"]["hostname"], second["spec"]["subdomain"]) == ("digits-1-1", "digits-1")
    (container,) = second["spec"]["containers"]
    variables = env(container)
    assert container["command"][:3] == ["torchrun", "-m", "trainserve.models"]
    assert (variables["PET_NODE_RANK"], variables["PET_MASTER_ADDR"]) == ("1", "digits-1-0.digits-1")
    assert (variables["PET_NNODES"], variables["PET_NPROC_PER_NODE"], variables["PET_MAX_RESTARTS"]) == ("2", "1", "0")
    assert int(variables["PET_MASTER_PORT"]) == service["spec"]["ports"][0]["port"]
    assert first["metadata"]["labels"]["trainserve.io/rank"] == "0"


def test_pods_of_a_gang_keep_apart_where_there_are_nodes_enough() -> None:
    spec = pod_spec(trainjob(workers={"nodes": 2}, resources={"gpus": 1, "gpu": {"minMemory": "40Gi"}}))
    (apart,) = spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert apart["podAffinityTerm"]["labelSelector"]["matchLabels"] == {
        "trainserve.io/trainjob": "digits",
        "trainserve.io/attempt": "1",
    }
    assert "nodeAffinity" in spec["affinity"]


def test_gangs_that_share_a_network_meet_at_ports_of_their_own() -> None:
    ports = {port(trainjob(uid=f"uid-{number}"), attempt) for number in range(20) for attempt in (1, 2)}
    assert len(ports) > 35
    assert all(29500 <= each < 32768 for each in ports), "no ephemeral port, which any program may hold"


@pytest.mark.parametrize(
    ("workers", "gpus", "processes"), [({}, 0, 1), ({}, 4, 4), ({"processesPerNode": 2}, 0, 2), ({"nodes": 2}, 1, 1)]
)
def test_a_pod_has_a_process_for_each_gpu_unless_told(workers: Object, gpus: int, processes: int) -> None:
    spec = pod_spec(trainjob(workers=workers, resources={"gpus": gpus}))
    variables = env(spec["containers"][0])
    assert variables.get("PET_NPROC_PER_NODE", "1") == str(processes)


@pytest.mark.parametrize(
    ("resources", "processes", "threads"),
    [({}, 1, "2"), ({}, 2, "1"), ({"cpu": "4"}, 1, "4"), ({"cpu": "4"}, 2, "2"), ({"cpu": "500m"}, 2, "1")],
)
def test_processes_of_one_pod_share_its_cores(resources: Object, processes: int, threads: str | None) -> None:
    spec = pod_spec(trainjob(workers={"processesPerNode": processes}, resources=resources))
    assert env(spec["containers"][0]).get("OMP_NUM_THREADS") == threads


def test_processes_of_one_pod_meet_at_its_own_address() -> None:
    spec = pod_spec(trainjob(workers={"processesPerNode": 2}))
    (container,) = spec["containers"]
    assert env(container)["PET_MASTER_ADDR"] == "$(POD_IP)"
    names = [variable["name"] for variable in container["env"]]
    assert names.index("POD_IP") < names.index("PET_MASTER_ADDR"), "references are to variables that come before"
    assert "subdomain" not in spec


def test_a_users_own_command_is_told_how_to_meet_and_run_as_it_is() -> None:
    (container,) = pod_spec(command_job(workers={"nodes": 2}))["containers"]
    assert container["command"] == ["true"]
    assert env(container)["PET_NNODES"] == "2"


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
    *command, chosen, _, gpus, _, release = fetch["command"]
    assert " ".join(command) == (
        "python -m trainserve.serving fetch --store /var/lib/trainserve/store --path default/digits/3"
        f" --digest {DIGEST} --into /var/run/trainserve --model-name digits --settings"
    )
    assert (gpus, release) == ("2", SETTINGS.triton_image)
    assert json.loads(chosen)["dynamicBatching"].items() >= {"maxBatch": 8, "maxQueueDelay": "1.5ms"}.items()
    assert {"--http-address=$(POD_IP)", "--model-control-mode=none", "--strict-readiness=true"} <= set(
        triton["command"]
    )
    alive = triton["livenessProbe"]
    assert alive["httpGet"] == {"path": "/livez", "port": 9401}
    # A probe that died refuses connections until it has started anew: 1.1 CPU seconds, more on a busy node.
    assert alive["failureThreshold"] * alive["periodSeconds"] >= 5
    assert " ".join(probe["command"]) == (
        "python -m trainserve.serving probe --version /var/run/trainserve/version --model-name digits"
        " --url $(POD_IP):8000 --listen $(POD_IP):9401 --samples 64 --dead-file /var/run/trainserve/dead"
    )
    assert read(deployment) == VERSION


def serving_pod(settings: Settings = SETTINGS, version: Version = VERSION, **spec: Any) -> Object:
    """Spec of a pod that serves."""
    parsed = ModelServeSpec.model_validate({"model": {"name": "digits"}} | spec)
    return dict(serving.deployment(SERVE, parsed, version, settings)["spec"]["template"]["spec"])


def option(container: Object, name: str) -> str | None:
    """The value that follows an option of a container's command."""
    command: list[str] = container["command"]
    return command[command.index(name) + 1] if name in command else None


@pytest.mark.parametrize(
    "triton",
    [{}, {"responseCache": True}, {"rateLimiter": {}}, {"responseCache": True, "rateLimiter": {"priority": 2}}],
)
def test_triton_gets_the_flags_that_serving_asks_for(triton: Object) -> None:
    command = serving_pod(triton=triton)["containers"][0]["command"]
    wanted = repository.server_flags([ServingSettings.model_validate(triton)])
    assert [flag for flag in command if flag.startswith(("--cache-config", "--rate-limit"))] == wanted


@pytest.mark.parametrize(("triton", "asked"), [({}, False), ({"ensemble": {"top": 2}}, True)])
def test_the_ensemble_is_probed_where_there_is_one(triton: Object, asked: bool) -> None:
    _, probe = serving_pod(triton=triton)["containers"]
    assert ("--ensemble" in probe["command"]) is asked


def test_what_lies_outside_the_store_is_fetched_from_its_address() -> None:
    lone = Version("web", None, "https://models.example.org/a$(B)/resnet.onnx", DIGEST)
    pod = serving_pod(version=lone)
    (fetch,) = pod["initContainers"]
    assert option(fetch, "--source") == "https://models.example.org/a$$(B)/resnet.onnx"
    assert not {"--store", "--path"} & set(fetch["command"])
    assert (option(fetch, "--digest"), option(fetch, "--model-name")) == (DIGEST, "web")
    assert [volume["name"] for volume in pod["volumes"]] == ["shared", "tmp"]


def test_the_namespaces_secret_is_files_too_for_those_alone_who_fetch() -> None:
    known = settings("pvc://models", TRAINSERVE_STORE_SECRET="keys")
    pod = serving_pod(known)
    volume = {"name": "credentials", "secret": {"secretName": "keys", "optional": True}}
    mount = {"name": "credentials", "mountPath": "/var/run/secrets/trainserve", "readOnly": True}
    assert volume in pod["volumes"]
    assert mount in pod["initContainers"][0]["volumeMounts"]
    assert all(mount not in container["volumeMounts"] for container in pod["containers"])
    resolver = serving.resolver_pod(SERVE, ModelServeSpec.model_validate({"model": {"name": "digits"}}), known)
    assert volume in resolver["spec"]["volumes"]
    assert mount in resolver["spec"]["containers"][0]["volumeMounts"]
    trainer = pod_spec(trainjob(), known)
    assert volume in trainer["volumes"]
    assert mount in trainer["containers"][0]["volumeMounts"]


def test_another_claim_is_mounted_where_the_store_would_be() -> None:
    pod = serving_pod(settings("pvc://store"), Version("web", None, "pvc://other/nets/a.onnx", DIGEST))
    (fetch,) = pod["initContainers"]
    assert option(fetch, "--source") == "pvc://other/nets/a.onnx"
    claim = {"claimName": "other", "readOnly": True}
    assert pod["volumes"][1:-1] == [{"name": "store", "persistentVolumeClaim": claim}]
    assert {"name": "store", "mountPath": "/var/lib/trainserve/store", "readOnly": True} in fetch["volumeMounts"]


def test_a_key_that_must_have_signed_is_told_to_the_pod() -> None:
    key = f"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA{43 * 'A'}=\n-----END PUBLIC KEY-----\n"
    (fetch,) = serving_pod(model={"name": "digits", "publicKey": key})["initContainers"]
    assert option(fetch, "--public-key") == key
    assert option(serving_pod()["initContainers"][0], "--public-key") is None


def test_samples_of_a_lone_graph_are_fetched_from_their_own_claim_and_given_to_the_probe() -> None:
    lone = {"uri": "s3://bucket/net.onnx", "digest": DIGEST}
    pod = serving_pod(model=lone | {"samples": {"uri": "pvc://real/net.npz", "digest": DIGEST}})
    (fetch,) = pod["initContainers"]
    assert (option(fetch, "--samples"), option(fetch, "--samples-digest")) == ("pvc://real/net.npz", DIGEST)
    assert {"name": "samples", "mountPath": "/var/lib/trainserve/samples", "readOnly": True} in fetch["volumeMounts"]
    assert {"name": "samples", "persistentVolumeClaim": {"claimName": "real", "readOnly": True}} in pod["volumes"]
    probe = next(each for each in pod["containers"] if each["name"] == "probe")
    assert option(probe, "--given") == "/var/run/trainserve/given.npz"
    without = serving_pod(model=lone)
    assert "samples" not in str(without["volumes"])
    assert option(without["initContainers"][0], "--samples") is None


def test_a_nodes_cache_is_written_by_fetch_alone_and_off_unless_asked_for() -> None:
    pod = serving_pod(settings("s3://bucket", TRAINSERVE_NODE_CACHE="/srv/cache", TRAINSERVE_NODE_CACHE_SIZE="2Gi"))
    (fetch,) = pod["initContainers"]
    assert {"name": "cache", "hostPath": {"path": "/srv/cache", "type": "DirectoryOrCreate"}} in pod["volumes"]
    assert (option(fetch, "--cache"), option(fetch, "--cache-size")) == ("/var/cache/trainserve", str(2 * 2**30))
    triton, probe = pod["containers"]
    assert [mount["name"] for mount in triton["volumeMounts"]] == ["shared", "tmp"], "a model is copied out of it"
    assert {"name": "cache", "mountPath": "/var/cache/trainserve", "readOnly": True} in probe["volumeMounts"]
    assert option(probe, "--cache") == "/var/cache/trainserve"
    assert option(serving_pod()["initContainers"][0], "--cache") is None


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


def test_triton_has_time_to_drain_before_it_is_killed() -> None:
    pod = serving.deployment(SERVE, ModelServeSpec.model_validate({"model": {"name": "d"}}), VERSION, SETTINGS)
    spec = pod["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] > DRAIN_SECONDS + TRITON_EXIT_SECONDS
    triton, _ = spec["containers"]
    (age,) = [flag for flag in triton["command"] if flag.startswith("--grpc-max-connection-age=")]
    assert float(age.partition("=")[2]) / 1000 * 1.1 < DRAIN_SECONDS, "each of its connections is too old by then"


def test_a_server_that_does_not_live_is_not_drained_first() -> None:
    spec = ModelServeSpec.model_validate({"model": {"name": "d"}})
    triton, probe = serving.deployment(SERVE, spec, VERSION, SETTINGS)["spec"]["template"]["spec"]["containers"]
    marked = probe["command"][probe["command"].index("--dead-file") + 1]
    assert triton["lifecycle"]["preStop"]["exec"]["command"][2] == f"test -e {marked} || exec sleep {DRAIN_SECONDS}"


def test_a_release_that_knows_no_such_flags_is_not_given_them() -> None:
    def flags(image: str) -> set[str]:
        spec = ModelServeSpec.model_validate({"model": {"name": "d"}, "triton": {"image": image}})
        triton = serving.deployment(SERVE, spec, VERSION, SETTINGS)["spec"]["template"]["spec"]["containers"][0]
        return {flag.partition("=")[0] for flag in triton["command"]}

    later = {"--grpc-max-connection-age", "--http-restricted-api", "--grpc-restricted-protocol"}
    assert not later & flags("nvcr.io/nvidia/tritonserver:23.12-py3")
    assert later <= flags("nvcr.io/nvidia/tritonserver:24.01-py3")
    assert later <= flags("mine/triton:v3")


def test_what_was_applied_is_told_from_what_changed() -> None:
    spec = ModelServeSpec.model_validate({"model": {"name": "digits"}})
    applied = serving.deployment(SERVE, spec, VERSION, SETTINGS)
    assert serving.is_applied(serving.deployment(SERVE, spec, VERSION, SETTINGS), applied)
    more = ModelServeSpec.model_validate({"model": {"name": "digits"}, "triton": {"instances": 2}})
    assert not serving.is_applied(serving.deployment(SERVE, more, VERSION, SETTINGS), applied)


def serving_labels(version: Version) -> tuple[dict[str, str], Object]:
    """Of the serving pods, and the Deployment's spec."""
    spec = ModelServeSpec.model_validate({"model": {"name": "digits"}})
    made = serving.deployment(SERVE, spec, version, SETTINGS)["spec"]
    return made["template"]["metadata"]["labels"], made


def test_training_pods_say_which_model_they_train_where_they_publish_one() -> None:
    for pod in objects(trainjob(workers={"nodes": 2}))[-2:]:
        assert pod["metadata"]["labels"]["trainserve.io/model"] == "digits"
    assert "trainserve.io/model" not in objects(command_job())[-1]["metadata"]["labels"]


def test_serving_pods_say_which_version_of_which_model_they_serve_and_are_selected_as_ever() -> None:
    found, deployment = serving_labels(VERSION)
    assert (found["trainserve.io/model"], found["trainserve.io/model-version"]) == ("digits", "3")
    selected = {"trainserve.io/modelserve": "web", "trainserve.io/version": DIGEST[7:17]}
    assert deployment["selector"]["matchLabels"] == selected
    assert selected.items() <= found.items()


def test_a_lone_graph_has_no_number() -> None:
    found, _ = serving_labels(Version("web", None, "https://example.org/web.onnx", DIGEST))
    assert found["trainserve.io/model"] == "web"
    assert "trainserve.io/model-version" not in found


@pytest.mark.parametrize("name", ["m" * 64, "a model", "-m", "m\n"])
def test_a_model_whose_name_is_no_label_is_served_without_it(name: str) -> None:
    """Somebody else's store may have such names, and whoever edits a Deployment's annotation may write any."""
    found, _ = serving_labels(Version(name, 3, f"pvc://models/{name}/3", DIGEST))
    assert "trainserve.io/model" not in found
    assert found["trainserve.io/model-version"] == "3"


def test_a_longest_label_is_told() -> None:
    found, _ = serving_labels(Version("m" * 63, 3, "pvc://models/m/3", DIGEST))
    assert found["trainserve.io/model"] == "m" * 63


def test_the_end_of_a_log_is_no_message_where_a_secret_may_stand_in_it() -> None:
    known = settings("pvc://models", TRAINSERVE_STORE_SECRET="keys")
    pod = serving_pod(known)
    (trainer,), (command,) = (pod_spec(job, known)["containers"] for job in (trainjob(), command_job()))
    given = [trainer, *pod["initContainers"]]
    assert all(container["envFrom"] and container["terminationMessagePolicy"] == "File" for container in given)
    for container in (command, *pod["containers"], *pod_spec(trainjob())["containers"]):
        assert "envFrom" not in container or not container["envFrom"]
        assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
