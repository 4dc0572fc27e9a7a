"""The record of the digests of published versions, kept where no writer to the store can change it.

It consists of ConfigMaps in the namespace, without owners, so that they outlive TrainJobs. Each holds PAGE version
numbers of one model, so its size is bounded and no entry is dropped for a newer one. Training pods hold no credentials
for the API, and the operator never changes an existing entry. The alternative, a signed index in the store, would need
a key as one more secret, and a writer to the store could restore an older index.
"""

from __future__ import annotations

from collections.abc import Callable

from trainserve.operator import labels
from trainserve.operator.cache import Cache
from trainserve.operator.objects import Object

Digests = Callable[[str, int], str | None]
"""Returns the digest with which a version of a model was published, or None if none is recorded."""
PAGE = 1000
"""Versions in one ConfigMap, of 80 bytes each."""


def name_of(model: str, version: int) -> str:
    """Return `trainserve-versions.<model>.<page>`; the name of a model contains no dot."""
    return f"trainserve-versions.{model}.{version // PAGE}"


def digests(cache: Cache, namespace: str) -> Digests:
    """Return a look-up in one namespace's record as the cache holds it."""

    def digest(model: str, version: int) -> str | None:
        page = cache.get("ConfigMap", namespace, name_of(model, version)) or {}
        found: str | None = (page.get("data") or {}).get(str(version))
        return found

    return digest


def missing(known: Digests, namespace: str, model: str, version: int, digest: str) -> list[Object]:
    """Return the entry to add for a version, as a ConfigMap with only that entry; empty if it is already recorded."""
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
