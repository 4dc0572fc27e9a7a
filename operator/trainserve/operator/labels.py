"""Labels, annotations and owner references, which distinguish the operator's own objects from all others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from trainserve.api.base import PodTemplate
from trainserve.api.scalars import names
from trainserve.api.scalars.names import LABEL_VALUE_PATTERN
from trainserve.operator import objects

MANAGED_BY = names.MANAGED_BY
MANAGER = "trainserve"
"""Value of the label `managed-by`, and the field manager of every write."""
SELECTOR = f"{MANAGED_BY}={MANAGER}"

TRAINJOB = "trainserve.io/trainjob"
MODELSERVE = "trainserve.io/modelserve"
ATTEMPT = "trainserve.io/attempt"
RANK = "trainserve.io/rank"
VERSION = "trainserve.io/version"
"""Label of serving pods: ten digits of the digest, by which the Service selects them."""
MODEL = "trainserve.io/model"
"""Label of training and serving pods, for people and for metrics: the model's name."""
MODEL_VERSION = "trainserve.io/model-version"
"""Label of serving pods, for people and for metrics: the version's number."""

SPEC_DIGESTS = "trainserve.io/spec-digests"
"""Annotation of a training pod: digests of the spec it was built from, as JSON."""
TEMPLATE = "trainserve.io/template"
"""Annotation of serving pods: a digest of the template they were made from, which distinguishes new pods from old."""
OWNER_UID = "trainserve.io/owner-uid"
"""Annotation of serving pods, whose ownerReference names a ReplicaSet instead of the ModelServe."""


def of_model(name: str | None, version: int | None = None) -> dict[str, str]:
    """Return the labels for a pod's model, without values that an API server would refuse: a model's name in another
    store may be too long for a label."""
    named = {MODEL: name, MODEL_VERSION: version}
    texts = {label: str(value) for label, value in named.items() if value is not None}
    return {label: text for label, text in texts.items() if re.fullmatch(LABEL_VALUE_PATTERN, text)}


def owner_reference(owner: Mapping[str, Any]) -> dict[str, Any]:
    """Return the reference by which the garbage collector deletes a child after its owner, without blocking the owner's
    deletion."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }


def is_labelled(child: Mapping[str, Any]) -> bool:
    """Return whether `child` has the label by which the operator lists and watches its objects."""
    return bool(objects.labels(child).get(MANAGED_BY) == MANAGER)


def owned_by(child: Mapping[str, Any], uid: str) -> bool:
    """Return whether `child` belongs to exactly this owner, and not to an earlier object of the same name."""
    references = child["metadata"].get("ownerReferences") or []
    return any(reference["uid"] == uid for reference in references)


def owned_by_namesake(child: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    """Return whether the operator created `child` for an object of the kind and name in the reference `owner`."""
    if not is_labelled(child):
        return False
    same = ("apiVersion", "kind", "name")
    references = child["metadata"].get("ownerReferences") or []
    return any(all(reference.get(field) == owner[field] for field in same) for reference in references)


def is_orphan(child: Mapping[str, Any]) -> bool:
    """Return whether the operator created `child` and its owner was deleted without it."""
    return is_labelled(child) and not child["metadata"].get("ownerReferences")


def metadata(owner: Mapping[str, Any], name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """Return the metadata of a child of `owner` in its namespace."""
    return {
        "name": name,
        "namespace": owner["metadata"]["namespace"],
        "labels": {MANAGED_BY: MANAGER, **labels},
        "ownerReferences": [owner_reference(owner)],
    }


def of_pod(template: PodTemplate | None, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return a pod's `metadata` with the labels and annotations that its owner's spec adds; its own take precedence."""
    if template is None:
        return dict(metadata)
    asked = {"labels": template.labels, "annotations": template.annotations}
    merged = {field: {**(texts or {}), **metadata.get(field, {})} for field, texts in asked.items()}
    return {**metadata, **{field: texts for field, texts in merged.items() if texts}}
