"""Kubernetes objects as JSON, with accessors for parts that the API server or the author of an object may leave out."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

Object = dict[str, Any]
"""A Kubernetes object, or a part of one, as JSON."""


class Identity(NamedTuple):
    """Metadata that identifies an object and the version of its spec."""

    namespace: str
    name: str
    uid: str
    generation: int

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Self:
        """Read the metadata of an object that the API server has stored."""
        metadata = found["metadata"]
        return cls(metadata["namespace"], metadata["name"], metadata["uid"], generation(found))


def generation(found: Mapping[str, Any]) -> int:
    """Return the generation, the number of the spec's version; 1 if it is unset."""
    return int(found["metadata"].get("generation", 1))


def spec(found: Mapping[str, Any]) -> Object:
    """Return the spec; empty if there is none."""
    return found.get("spec") or {}


def status(found: Mapping[str, Any]) -> Object:
    """Return the status; empty if there is none yet."""
    return found.get("status") or {}


def annotations(found: Mapping[str, Any]) -> dict[str, str]:
    """Return the annotations; empty if there are none."""
    return found["metadata"].get("annotations") or {}


def labels(found: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels; empty if there are none."""
    return found["metadata"].get("labels") or {}
