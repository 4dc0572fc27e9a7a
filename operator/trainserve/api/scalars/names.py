"""Names of objects and models, and keys and values of the labels and annotations of pods."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from trainserve.api import GROUP

NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
OBJECT_NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
"""Names of our objects are also names of Services, which must start with a letter (RFC 1035)."""
_DNS_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
LABEL_KEY_PATTERN = rf"^({_DNS_LABEL}([.]{_DNS_LABEL})*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?$"
LABEL_VALUE_PATTERN = r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"
"""https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set"""
_ANY_DNS_LABEL = _DNS_LABEL.replace("a-z", "A-Za-z")
ANNOTATION_KEY_PATTERN = LABEL_KEY_PATTERN.replace(_DNS_LABEL, _ANY_DNS_LABEL)
"""The pattern of a label's key, but that Kubernetes also takes capital letters before the slash."""
MANAGED_BY = "app.kubernetes.io/managed-by"
MAX_ANNOTATIONS_BYTES = 240 * 1024
"""Bytes of all names and values together. Kubernetes allows a pod 256 KiB, the operator's own among them."""
LAST_VERSION = 999_999_999
"""The largest version number of a model: its folder's name has at most nine digits."""


def _not_ours(key: str) -> str:
    """Refuse the operator's own keys: it finds its pods by these labels, and Services select by them."""
    domain = key.rpartition("/")[0].lower()
    if domain == GROUP or domain.endswith(f".{GROUP}") or key == MANAGED_BY:
        raise PydanticCustomError("reserved", "must be another name: this one is the operator's own")
    return key


def _within_a_pods_annotations(annotations: dict[str, str]) -> dict[str, str]:
    size = sum(len(key.encode()) + len(text.encode()) for key, text in annotations.items())
    if size > MAX_ANNOTATIONS_BYTES:
        said = {"size": size, "most": MAX_ANNOTATIONS_BYTES}
        raise PydanticCustomError("size", "must have at most {most} bytes in all, not {size}", said)
    return annotations


Name = Annotated[str, Field(pattern=NAME_PATTERN, min_length=1, max_length=63)]
"""The name of a namespace, or of a model in any store: an RFC 1123 label."""
ModelName = Annotated[str, Field(pattern=NAME_PATTERN, min_length=1, max_length=40)]
"""The name of a model that is published: also a folder, a Triton model name and a label's value."""
LabelKey = Annotated[str, Field(pattern=LABEL_KEY_PATTERN, max_length=317)]
"""A label's key: at most 253 characters before a slash, and 63 after it."""
LabelValue = Annotated[str, Field(pattern=LABEL_VALUE_PATTERN, max_length=63)]
UserLabelKey = Annotated[LabelKey, AfterValidator(_not_ours)]
UserAnnotationKey = Annotated[str, Field(pattern=ANNOTATION_KEY_PATTERN, max_length=317), AfterValidator(_not_ours)]
Annotations = Annotated[dict[UserAnnotationKey, str], Field(max_length=64), AfterValidator(_within_a_pods_annotations)]
