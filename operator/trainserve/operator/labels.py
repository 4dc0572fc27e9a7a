"""Labels, annotations and owner references: how the operator's own objects are told from everybody else's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "trainserve"
"""Value of the label `managed-by`, and the field manager of every write."""
SELECTOR = f"{MANAGED_BY}={MANAGER}"

TRAINJOB = "trainserve.io/trainjob"
MODELSERVE = "trainserve.io/modelserve"
ATTEMPT = "trainserve.io/attempt"
RANK = "trainserve.io/rank"
VERSION = "trainserve.io/version"

SPEC_DIGESTS = "trainserve.io/spec-digests"
"""Annotation of a training pod: digests of the spec it was built from, as JSON."""
TEMPLATE = "trainserve.io/template"
"""Annotation of serving pods: a digest of the template they were made from, which tells new ones from old ones."""
OWNER_UID = "trainserve.io/owner-uid"
"""Annotation of serving pods, whose ownerReference names a ReplicaSet instead of the ModelServe."""


def owner_reference(owner: Mapping[str, Any]) -> dict[str, Any]:
    """The reference that lets the garbage collector delete a child after its owner; it never blocks the owner."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }


def owned_by(child: Mapping[str, Any], uid: str) -> bool:
    """Whether `child` belongs to exactly this owner, and not to an earlier object of the same name."""
    references = child["metadata"].get("ownerReferences") or []
    return any(reference["uid"] == uid for reference in references)


def owned_by_namesake(child: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    """Whether we made `child` for an owner of the same kind and name as this reference's, but for another object."""
    if (child["metadata"].get("labels") or {}).get(MANAGED_BY) != MANAGER:
        return False
    same = ("apiVersion", "kind", "name")
    references = child["metadata"].get("ownerReferences") or []
    return any(all(reference.get(field) == owner[field] for field in same) for reference in references)


def metadata(owner: Mapping[str, Any], name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """Metadata of a child of `owner` in its namespace."""
    return {
        "name": name,
        "namespace": owner["metadata"]["namespace"],
        "labels": {MANAGED_BY: MANAGER, **labels},
        "ownerReferences": [owner_reference(owner)],
    }
