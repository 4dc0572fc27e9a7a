"""A container's environment, command and arguments, with every reference resolved."""

import math
import re
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trainserve.api.scalars import quantity

Object = dict[str, Any]
Fetch = Callable[[str, str], Awaitable[Object | None]]
"""Reads a namespaced object by plural kind and name; None if it does not exist."""

# Syntax of references in Kubernetes: third_party/forked/golang/expansion/expand.go.
REFERENCE = re.compile(r"\$\$|\$\(([^)$(]+)\)")
IDENTIFIER = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ConfigError(Exception):
    """A container cannot be configured yet, most often because an object it refers to does not exist."""


@dataclass(frozen=True)
class PodFacts:
    """Values of a pod for downward API references. `allocatable` holds the node's quantities by resource name."""

    pod: Object
    pod_ip: str
    host_ip: str
    allocatable: Mapping[str, str]


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by its value if `values` has one, and `$$` by `$`."""
    return REFERENCE.sub(lambda match: "$" if match[1] is None else values.get(match[1], match[0]), text)


def expand_command(container: Object, values: Mapping[str, str]) -> list[str]:
    """Return the container's argv. Raises ConfigError without `command`, as the image's entrypoint is unknown."""
    argv = [*container.get("command", ()), *container.get("args", ())]
    if not container.get("command"):
        raise ConfigError(f"container {container['name']}: command is required on this node, which has no images")
    return [expand(each, values) for each in argv]


async def environment(container: Object, facts: PodFacts, base: Mapping[str, str], fetch: Fetch) -> dict[str, str]:
    """Return the environment: `base`, overridden by envFrom, overridden by env. Raises ConfigError."""
    values = dict(base)
    for source in container.get("envFrom", ()):
        for kind, plural in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
            if reference := source.get(kind):
                found = await fetch(plural, reference["name"])
                if found is None and not reference.get("optional"):
                    raise ConfigError(f'{_singular(plural)} "{reference["name"]}" not found')
                data = decoded(plural, found) if found else {}
                values |= {
                    source.get("prefix", "") + key: value.decode(errors="surrogateescape")
                    for key, value in data.items()
                    if IDENTIFIER.fullmatch(key)
                }
    for variable in container.get("env", ()):
        name = variable["name"]
        if source := variable.get("valueFrom"):
            value = await _from_source(source, container, facts, fetch)
            if value is not None:
                values[name] = value
        else:
            values[name] = expand(variable.get("value", ""), values)
    return values


async def _from_source(source: Object, container: Object, facts: PodFacts, fetch: Fetch) -> str | None:
    if reference := source.get("fieldRef"):
        return field_value(reference["fieldPath"], facts)
    if reference := source.get("resourceFieldRef"):
        return resource_value(reference, container, facts)
    plural = "configmaps" if "configMapKeyRef" in source else "secrets"
    reference = source.get("configMapKeyRef") or source.get("secretKeyRef") or {}
    found = await fetch(plural, reference["name"])
    if found is None:
        if reference.get("optional"):
            return None
        raise ConfigError(f'{_singular(plural)} "{reference["name"]}" not found')
    data = decoded(plural, found)
    if reference["key"] not in data:
        if reference.get("optional"):
            return None
        raise ConfigError(f"couldn't find key {reference['key']} in {_singular(plural)} {reference['name']}")
    return data[reference["key"]].decode(errors="surrogateescape")


def field_value(path: str, facts: PodFacts) -> str:
    """Return the value of a downward API `fieldPath`. Raises ConfigError for an unknown path."""
    metadata, spec = facts.pod["metadata"], facts.pod["spec"]
    plain = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": spec["nodeName"],
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.hostIP": facts.host_ip,
        "status.hostIPs": facts.host_ip,
        "status.podIP": facts.pod_ip,
        "status.podIPs": facts.pod_ip,
    }
    if path in plain:
        return str(plain[path])
    for kind in ("labels", "annotations"):
        entries: dict[str, str] = metadata.get(kind) or {}
        if path == f"metadata.{kind}":
            return "\n".join(f'{key}="{_escape(value)}"' for key, value in sorted(entries.items()))
        if path.startswith(f"metadata.{kind}['") and path.endswith("']"):
            return entries.get(path[len(f"metadata.{kind}['") : -2], "")
    raise ConfigError(
        f"fieldRef.fieldPath: {path!r} is not one of {', '.join(plain)}, metadata.labels, metadata.annotations"
    )


def resource_value(reference: Object, container: Object, facts: PodFacts) -> str:
    """Return the value of a `resourceFieldRef`, divided and rounded up; for an unset limit, that of the node."""
    kind, _, resource = reference["resource"].partition(".")
    resources = container.get("resources", {})
    text = resources.get(kind, {}).get(resource)
    if text is None:
        text = facts.allocatable.get(resource, "0") if kind == "limits" else "0"
    amount, divisor = quantity.value(text), quantity.value(reference.get("divisor") or "1")
    return str(math.ceil(amount / (divisor or 1)))


def decoded(plural: str, found: Object) -> dict[str, bytes]:
    """Return the entries of a ConfigMap or Secret as bytes."""
    if plural == "secrets":
        return {key: b64decode(value) for key, value in (found.get("data") or {}).items()}
    texts = {key: value.encode() for key, value in (found.get("data") or {}).items()}
    return texts | {key: b64decode(value) for key, value in (found.get("binaryData") or {}).items()}


def _singular(plural: str) -> str:
    return {"configmaps": "configmap", "secrets": "secret"}[plural]


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
