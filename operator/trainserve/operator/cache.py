"""What the operator knows of the cluster: plain dictionaries, filled by the same watches that fill the queue.

A cache may lag behind the API server, but never behind the operator's own writes, whose answers are put in as well.
Objects are trimmed to what planning reads: a thousand jobs with their pods are to fit in a few megabytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from trainserve.operator import labels
from trainserve.operator.plan import Object
from trainserve.operator.workqueue import Key

METADATA = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "labels",
    "annotations",
    "ownerReferences",
    "creationTimestamp",
    "deletionTimestamp",
)
KEPT = {
    "TrainJob": ("spec", "status"),
    "ModelServe": ("spec", "status"),
    "Pod": ("status",),
    "Service": ("spec",),
    "Deployment": ("spec", "status"),
    "ConfigMap": (),
    "PodDisruptionBudget": (),
}
"""Kinds that are cached, each with the fields kept beside metadata."""
PARENTS = {"TrainJob": labels.TRAINJOB, "ModelServe": labels.MODELSERVE}
APPLIED = "applied"
"""Field of a cached object: its `state` when this process applied it last; none if it has not yet."""
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Cache:
    """Objects by kind, namespace and name, and children by the parent that their label names."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[tuple[str, str], Object]] = {kind: {} for kind in KEPT}
        self._children: defaultdict[Key, dict[tuple[str, str], Object]] = defaultdict(dict)

    def put(self, kind: str, raw: Mapping[str, Any], *, applied: bool = False) -> bool:
        """Take an object in, unless what is known of it is as new; answer whether it was news.

        `applied`: it is the answer to an apply of our own.
        """
        fresh = trim(kind, raw)
        at = _identity(fresh)
        known = self._objects[kind].get(at)
        same = known is not None and _same_object(known, fresh)
        if applied:
            fresh[APPLIED] = state(fresh)
        elif same and known is not None and APPLIED in known:
            fresh[APPLIED] = known[APPLIED]
        if same and known is not None and _revision(known) >= _revision(fresh):
            known |= {APPLIED: fresh[APPLIED]} if applied else {}
            return False
        self._objects[kind][at] = fresh
        for parent in parents(kind, fresh):
            self._children[parent][kind, at[1]] = fresh
        return True

    def drop(self, kind: str, raw: Mapping[str, Any]) -> None:
        """The object is gone, unless one of the same name has taken its place meanwhile."""
        at = _identity(raw)
        known = self._objects[kind].get(at)
        if known is None or not _same_object(known, raw):
            return
        del self._objects[kind][at]
        for parent in parents(kind, known):
            siblings = self._children[parent]
            siblings.pop((kind, at[1]), None)
            if not siblings:
                del self._children[parent]

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """The object, if it is known."""
        return self._objects[kind].get((namespace, name))

    def all(self, kind: str) -> list[Object]:
        """Every known object of a kind."""
        return list(self._objects[kind].values())

    def in_namespace(self, kind: str, namespace: str) -> Iterator[Object]:
        """Known objects of a kind in one namespace."""
        return (found for (place, _), found in self._objects[kind].items() if place == namespace)

    def children(self, parent: Key) -> list[Object]:
        """Objects whose label names this parent, those of an earlier object of the same name included."""
        return list(self._children.get(parent, {}).values())

    def child(self, parent: Key, kind: str, name: str) -> Object | None:
        """One of them."""
        return self._children.get(parent, {}).get((kind, name))


def trim(kind: str, raw: Mapping[str, Any]) -> Object:
    """Keep what planning reads."""
    metadata = {field: raw["metadata"][field] for field in METADATA if field in raw["metadata"]}
    if annotations := metadata.get("annotations"):
        metadata["annotations"] = {name: text for name, text in annotations.items() if name != LAST_APPLIED}
    kept = {field: raw[field] for field in KEPT[kind] if field in raw}
    if kind == "Deployment" and "spec" in kept:
        kept["spec"] = {"replicas": kept["spec"].get("replicas")}
    return {"apiVersion": raw.get("apiVersion"), "kind": kind, "metadata": metadata, **kept}


def state(cached: Mapping[str, Any]) -> Any:
    """What changes whenever somebody changes what was applied; a Service has no generation, and seldom changes."""
    return cached["metadata"].get("generation") or cached["metadata"].get("resourceVersion")


def drifted(cached: Mapping[str, Any]) -> bool:
    """Whether somebody may have changed the object since this process applied it."""
    return bool(cached.get(APPLIED) != state(cached))


def parents(kind: str, child: Mapping[str, Any]) -> list[Key]:
    """Keys of the objects that a child's labels name."""
    named = child["metadata"].get("labels") or {}
    return [
        Key(parent, child["metadata"]["namespace"], named[label])
        for parent, label in PARENTS.items()
        if kind not in PARENTS and label in named
    ]


def _identity(raw: Mapping[str, Any]) -> tuple[str, str]:
    return raw["metadata"]["namespace"], raw["metadata"]["name"]


def _same_object(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(one["metadata"]["uid"] == other["metadata"]["uid"])


def _revision(raw: Mapping[str, Any]) -> int:
    # Comparable as integers for one resource: KEP-5504, and true of every API server on etcd before it.
    return int(raw["metadata"]["resourceVersion"])
