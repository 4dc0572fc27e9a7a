"""A served version, published or a standalone graph, and its form on the objects that serve it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from trainserve.operator import objects, said

ANNOTATION = "trainserve.io/served-version"
"""Annotation of a Deployment: the version it serves, recorded so that it outlives the TrainJob that published it."""


@dataclass(frozen=True)
class Version:
    """A version of a model in a store, or a standalone .onnx file, which has no number.

    `model` is the name under which Triton serves it; for a standalone file it is the ModelServe's name.
    """

    model: str
    number: int | None
    uri: str
    digest: str
    train_job: str | None = None

    @property
    def suffix(self) -> str:
        """First ten digits of the digest, for the Deployment's name and the label by which the Service selects.

        The number would not be unique, since two models, or a store created again, have the same numbers.
        """
        return self.digest.removeprefix("sha256:")[:10]

    def __str__(self) -> str:
        return f"{self.model} version {self.number}" if self.number is not None else self.uri


def write(version: Version) -> str:
    """Return the value of the annotation for `version`."""
    return json.dumps(asdict(version), sort_keys=True)


def read(deployment: Mapping[str, Any]) -> Version | None:
    """Return the version that a Deployment serves; None if its annotation is missing or unreadable."""
    text = objects.annotations(deployment).get(ANNOTATION) or ""
    written = said.read(text)
    try:
        return None if written is None else Version(**written)
    except TypeError:
        return None
