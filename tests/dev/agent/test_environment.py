from base64 import b64encode
from typing import Any

import pytest

from trainserve.dev.agent.environment import (
    ConfigError,
    PodFacts,
    environment,
    expand,
    expand_command,
    field_value,
    resource_value,
)

OBJECTS: dict[tuple[str, str], dict[str, Any]] = {
    ("configmaps", "settings"): {
        "data": {"COLOR": "blue", "not a name": "x"},
        "binaryData": {"RAW": b64encode(b"\x01").decode()},
    },
    ("secrets", "keys"): {"data": {"TOKEN": b64encode(b"hush").decode()}},
}
POD = {
    "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"app": "web"}, "annotations": {"a": 'say "hi"'}},
    "spec": {"nodeName": "node", "serviceAccountName": "sa"},
}
FACTS = PodFacts(POD, "127.64.0.1", "127.0.0.1", {"cpu": "2", "memory": "8Gi"})


async def fetch(plural: str, name: str) -> dict[str, Any] | None:
    return OBJECTS.get((plural, name))


async def env_of(**container: Any) -> dict[str, str]:
    return await environment({"name": "c", **container}, FACTS, {"BASE": "1"}, fetch)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y2"),
        ("$(MISSING)", "$(MISSING)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A ${A} $", "$A ${A} $"),
        ("$(A", "$(A"),
        ("$(A)$(A)", "11"),
    ],
)
def test_references_are_expanded_as_kubernetes_does(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expected


def test_arguments_are_expanded_and_follow_the_command() -> None:
    container = {"name": "c", "command": ["echo", "$(A)"], "args": ["$(A)", "; rm -rf /"]}
    assert expand_command(container, {"A": "1"}) == ["echo", "1", "1", "; rm -rf /"]


def test_a_container_without_a_command_is_refused_for_there_is_no_image() -> None:
    with pytest.raises(ConfigError, match="container c: command is required"):
        expand_command({"name": "c", "args": ["x"]}, {})


async def test_variables_see_those_before_them_but_not_those_after() -> None:
    env = await env_of(env=[{"name": "A", "value": "$(BASE)$(B)"}, {"name": "B", "value": "$(A)!"}])
    assert (env["A"], env["B"]) == ("1$(B)", "1$(B)!")


async def test_env_wins_over_env_from_and_a_prefix_is_put_before_names() -> None:
    sources = [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "keys"}, "prefix": "MY_"}]
    env = await env_of(envFrom=sources, env=[{"name": "COLOR", "value": "red"}])
    assert env == {"BASE": "1", "COLOR": "red", "RAW": "\x01", "MY_TOKEN": "hush"}


async def test_values_come_from_config_maps_and_secrets_by_key() -> None:
    env = await env_of(
        env=[
            {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "COLOR"}}},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "TOKEN"}}},
            {"name": "C", "valueFrom": {"secretKeyRef": {"name": "none", "key": "x", "optional": True}}},
        ]
    )
    assert env == {"BASE": "1", "A": "blue", "B": "hush"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMapKeyRef": {"name": "none", "key": "x"}}, 'configmap "none" not found'),
        ({"secretKeyRef": {"name": "keys", "key": "x"}}, "couldn't find key x in secret keys"),
        ({"fieldRef": {"fieldPath": "spec.nonsense"}}, "fieldRef.fieldPath: 'spec.nonsense'"),
    ],
)
async def test_a_reference_to_nothing_is_an_error_that_names_it(source: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        await env_of(env=[{"name": "A", "valueFrom": source}])


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("metadata.name", "p"),
        ("metadata.namespace", "n"),
        ("metadata.uid", "u"),
        ("metadata.labels['app']", "web"),
        ("metadata.labels['none']", ""),
        ("metadata.labels", 'app="web"'),
        ("metadata.annotations", 'a="say \\"hi\\""'),
        ("spec.nodeName", "node"),
        ("spec.serviceAccountName", "sa"),
        ("status.podIP", "127.64.0.1"),
        ("status.hostIP", "127.0.0.1"),
    ],
)
def test_fields_of_the_pod_can_be_asked_for(path: str, expected: str) -> None:
    assert field_value(path, FACTS) == expected


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ({"resource": "limits.memory"}, "67108864"),
        ({"resource": "limits.memory", "divisor": "1Mi"}, "64"),
        ({"resource": "limits.memory", "divisor": "0"}, "67108864"),
        ({"resource": "requests.cpu"}, "1"),
        ({"resource": "requests.cpu", "divisor": "1m"}, "250"),
        ({"resource": "limits.cpu"}, "2"),
    ],
)
def test_resources_are_divided_and_rounded_up_and_default_to_the_node(reference: dict[str, str], expected: str) -> None:
    container = {"resources": {"limits": {"memory": "64Mi"}, "requests": {"cpu": "250m"}}}
    assert resource_value(reference, container, FACTS) == expected
