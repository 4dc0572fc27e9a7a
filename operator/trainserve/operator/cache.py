"""The operator's view of the cluster: plain dictionaries, filled by the same watches that fill the queue.

A cache may lag behind the API server, but never behind the operator's own writes, whose responses are put in as well.
Objects are trimmed to what planning reads, so that a thousand jobs with their pods fit in a few megabytes. For a large
spec only an outline is kept, and the reconciler reads the object again before it plans for it: the size of the objects
that tenants write must not determine the operator's memory.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from trainserve.api import GROUP
from trainserve.api.open_fields import MAX_FIELDS
from trainserve.operator import labels, pods
from trainserve.operator.objects import Object
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
    "NetworkPolicy": (),
}
"""Kinds that are cached, each with the fields kept besides metadata."""
PARENTS = ("TrainJob", "ModelServe")
APPLIED = "applied"
"""Field of a cached object: its `state` when this process last applied it; absent if it has not yet."""
ABRIDGED = "abridged"
"""Field of a cached TrainJob or ModelServe that holds only the outline of its spec."""
WHOLE = 4096
"""Largest size of a spec, in bytes of JSON, that is kept unchanged."""
OUTLINE = 256
"""Longest string, in characters, that stays in an outline, such as the name of a model or a job, or a quantity."""
LEVELS = 4
"""Levels of nested objects of a spec that stay in an outline."""
REFERENCE = ("apiVersion", "kind", "name", "uid")
POD_STATUS = (
    "phase",
    "reason",
    "message",
    "podIP",
    "conditions",
    "initContainerStatuses",
    "containerStatuses",
    "startTime",
)


class Cache:
    """Index of objects by kind, namespace and name, and of children by the parent that their owner reference names."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[tuple[str, str], Object]] = {kind: {} for kind in KEPT}
        self._children: defaultdict[Key, dict[tuple[str, str], Object]] = defaultdict(dict)

    def put(self, kind: str, raw: Mapping[str, Any], *, applied: bool = False) -> bool:
        """Store an object unless the cached one is at least as new; return whether it was stored.

        `applied` marks the response to an apply of this process. Kinds outside KEPT are ignored.
        """
        if kind not in KEPT:
            return False
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
        if known is not None:
            self._part(kind, known, set(parents(kind, known)) - set(parents(kind, fresh)))
        for parent in parents(kind, fresh):
            self._children[parent][kind, at[1]] = fresh
        return True

    def drop(self, kind: str, raw: Mapping[str, Any]) -> None:
        """Remove a deleted object, unless another one of the same name has replaced it meanwhile."""
        at = _identity(raw)
        known = self._objects[kind].get(at)
        if known is None or not _same_object(known, raw):
            return
        del self._objects[kind][at]
        self._part(kind, known, parents(kind, known))

    def _part(self, kind: str, child: Object, from_parents: Iterable[Key]) -> None:
        for parent in from_parents:
            siblings = self._children[parent]
            siblings.pop((kind, child["metadata"]["name"]), None)
            if not siblings:
                del self._children[parent]

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return the object, or None if it is not cached."""
        return self._objects[kind].get((namespace, name))

    def all(self, kind: str) -> list[Object]:
        """Return every cached object of a kind."""
        return list(self._objects[kind].values())

    def in_namespace(self, kind: str, namespace: str) -> Iterator[Object]:
        """Iterate over the cached objects of a kind in one namespace."""
        return (found for (place, _), found in self._objects[kind].items() if place == namespace)

    def children(self, parent: Key) -> list[Object]:
        """Return objects whose owner reference names `parent`, including those of an earlier object of that name."""
        return list(self._children.get(parent, {}).values())

    def child(self, parent: Key, kind: str, name: str) -> Object | None:
        """Return the child of that kind and name, or None if it is not cached."""
        return self._children.get(parent, {}).get((kind, name))


def trim(kind: str, raw: Mapping[str, Any]) -> Object:
    """Return the object with only what planning reads; an object that is already trimmed stays as it is."""
    metadata = {field: raw["metadata"][field] for field in METADATA if field in raw["metadata"]}
    for field in ("labels", "annotations"):
        if field in metadata:
            metadata[field] = _ours(metadata[field] or {})
    if references := metadata.pop("ownerReferences", None):
        named = ({field: each.get(field) for field in REFERENCE} for each in references)
        metadata |= {} if kind in PARENTS else {"ownerReferences": list(named)}
    kept = {field: raw[field] for field in KEPT[kind] if field in raw}
    if kind in PARENTS:
        spec = _whole(kept.get("spec") or {})
        kept |= {"spec": _outline(kept["spec"], LEVELS), ABRIDGED: True} if spec is None else {"spec": spec}
        kept |= {ABRIDGED: True} if raw.get(ABRIDGED) else {}
    if kind == "ConfigMap" and labels.MODEL in (metadata.get("labels") or {}):
        kept["data"] = _digests(raw.get("data") or {})
    if kind == "Pod":
        kept["status"] = {field: told for field, told in (raw.get("status") or {}).items() if field in POD_STATUS}
        kept |= {pods.HEARD: heard} if (heard := pods.heard(raw) or raw.get(pods.HEARD)) is not None else {}
    if kind == "Service":
        kept["spec"] = {"selector": (raw.get("spec") or {}).get("selector")}
    if kind == "Deployment" and "spec" in kept:
        kept["spec"] = {"replicas": kept["spec"].get("replicas")}
    return {"apiVersion": raw.get("apiVersion"), "kind": kind, "metadata": metadata, **kept}


def _ours(named: Mapping[str, str]) -> dict[str, str]:
    """Return the labels or annotations that the operator sets; a pod may also have those that its owner's spec adds."""
    ours = (name for name in named if name.partition("/")[0] == GROUP or name == labels.MANAGED_BY)
    return {name: named[name] for name in ours}


def _whole(spec: Any) -> Any | None:
    """Return the spec, or None if it is too large or too deeply nested."""
    try:
        return spec if len(json.dumps(spec)) <= WHOLE else None
    except RecursionError:
        return None


def _outline(value: Any, levels: int) -> Any:
    """Return the short strings and the numbers of a spec, which are enough to identify its model, job and amounts."""
    if isinstance(value, dict):
        fields = islice(value.items(), MAX_FIELDS) if levels else ()
        return {name: _outline(inner, levels - 1) for name, inner in fields if len(name) <= OUTLINE}
    if isinstance(value, list):
        return []
    return value if not isinstance(value, str) or len(value) <= OUTLINE else ""


def _digests(data: Mapping[str, str]) -> dict[str, str]:
    """Return the entries of a record of published versions, limited in number and length to what the operator writes:
    users may have edited the ConfigMap."""
    plausible = ((name, text) for name, text in data.items() if len(name) < 10 and len(text) < 80)
    return dict(islice(plausible, 1000))


def state(cached: Mapping[str, Any]) -> Any:
    """Return a value that changes with every change to the applied fields: the generation, or the resourceVersion for a
    Service, which has no generation and seldom changes."""
    return cached["metadata"].get("generation") or cached["metadata"].get("resourceVersion")


def drifted(cached: Mapping[str, Any]) -> bool:
    """Return whether the object may have been changed since this process applied it."""
    return bool(cached.get(APPLIED) != state(cached))


def parents(kind: str, child: Mapping[str, Any]) -> list[Key]:
    """Return the keys of the objects that a child's owner references name.

    Labels do not decide, since everyone who may edit pods may change them. A serving pod's owner is a ReplicaSet,
    `<serve>-<ten digits>-<hash>`.
    """
    if kind in PARENTS:
        return []
    namespace, keys = child["metadata"]["namespace"], []
    for reference in child["metadata"].get("ownerReferences") or []:
        if reference["kind"] in PARENTS and reference["apiVersion"].partition("/")[0] == GROUP:
            keys.append(Key(reference["kind"], namespace, reference["name"]))
        elif reference["kind"] == "ReplicaSet" and reference["name"].count("-") > 1:
            keys.append(Key("ModelServe", namespace, reference["name"].rsplit("-", 2)[0]))
    return keys


def _identity(raw: Mapping[str, Any]) -> tuple[str, str]:
    return raw["metadata"]["namespace"], raw["metadata"]["name"]


def _same_object(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(one["metadata"]["uid"] == other["metadata"]["uid"])


def _revision(raw: Mapping[str, Any]) -> int:
    # Revisions of one resource compare as integers: KEP-5504, and so did every earlier API server on etcd.
    return int(raw["metadata"]["resourceVersion"])
