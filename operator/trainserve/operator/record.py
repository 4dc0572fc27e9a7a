"""The record of published versions: which digest each had, kept where nothing that writes to the store can change it.

ConfigMaps of the namespace that nobody owns, so that they outlive TrainJobs, each of PAGE numbers of one model: bounded
in size, and none is dropped for a newer one. Training pods hold no credentials of the API, and the operator never
changes an entry that is there. Not a signed index in the store: its key would be one more secret, and whoever writes
there could put yesterday's index back.
"""

from __future__ import annotations

from collections.abc import Callable

from trainserve.operator import labels
from trainserve.operator.cache import Cache
from trainserve.operator.objects import Object

Digests = Callable[[str, int], str | None]
"""The digest under which a version of a model was published; None where nobody has recorded one."""
PAGE = 1000
"""Versions in one ConfigMap, of 80 bytes each."""


def name_of(model: str, version: int) -> str:
    """Return `trainserve-versions.<model>.<page>`; a model's name holds no dot."""
    return f"trainserve-versions.{model}.{version // PAGE}"


def digests(cache: Cache, namespace: str) -> Digests:
    """Return a look-up in one namespace's record, as far as the operator's watches know it."""

    def digest(model: str, version: int) -> str | None:
        page = cache.get("ConfigMap", namespace, name_of(model, version)) or {}
        found: str | None = (page.get("data") or {}).get(str(version))
        return found

    return digest


def missing(known: Digests, namespace: str, model: str, version: int, digest: str) -> list[Object]:
    """Return the entry to add for a version, as a ConfigMap that holds it alone; none if it exists."""
    if known(model, version) is not None:
        return []
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": name_of(model, version),
                "namespace": namespace,
                "labels": {labels.MANAGED_BY: labels.MANAGER, labels.MODEL: model},
            },
            "data": {str(version): digest},
        }
    ]
