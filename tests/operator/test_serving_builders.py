"""The pods that serve a version: their init container, Triton, the probe, and their labels."""

from __future__ import annotations

import json

import pytest

from tests.operator.builders_support import (
    SERVE,
    VERSION,
    option,
    pod_spec,
    serving_pod,
    settings,
)
from tests.operator.support import DIGEST, SETTINGS, trainjob
from trainserve.api.modelserve import ModelServeSpec
from trainserve.api.pod import TRITON_EXIT_SECONDS
from trainserve.operator.modelserve import builders as serving
from trainserve.operator.modelserve.pod import DRAIN_SECONDS
from trainserve.operator.modelserve.version import Version, read
from trainserve.operator.objects import Object
from trainserve.serving.repository import repository
from trainserve.serving.repository.settings import Settings as ServingSettings


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
    # A crashed probe refuses connections until it has restarted: 1.1 CPU seconds, more on a busy node.
    assert alive["failureThreshold"] * alive["periodSeconds"] >= 5
    assert " ".join(probe["command"]) == (
        "python -m trainserve.serving probe --version /var/run/trainserve/version --model-name digits"
        " --url $(POD_IP):8000 --listen $(POD_IP):9401 --samples 64 --dead-file /var/run/trainserve/dead"
    )
    assert read(deployment) == VERSION


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
    """Return the labels of the serving pods, and the Deployment's spec."""
    spec = ModelServeSpec.model_validate({"model": {"name": "digits"}})
    made = serving.deployment(SERVE, spec, version, SETTINGS)["spec"]
    return made["template"]["metadata"]["labels"], made


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
    """Another store may contain such names, and users can write any value to a Deployment's annotation."""
    found, _ = serving_labels(Version(name, 3, f"pvc://models/{name}/3", DIGEST))
    assert "trainserve.io/model" not in found
    assert found["trainserve.io/model-version"] == "3"


def test_a_longest_label_is_told() -> None:
    found, _ = serving_labels(Version("m" * 63, 3, "pvc://models/m/3", DIGEST))
    assert found["trainserve.io/model"] == "m" * 63
