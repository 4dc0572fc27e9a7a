"""What is served, a published version or a lone graph, and how it is written down on the objects that serve it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from trainserve.operator import objects, said

ANNOTATION = "trainserve.io/served-version"
"""On a Deployment: the version it serves, so that it outlives the TrainJob that published it."""


@dataclass(frozen=True)
class Version:
    """One version of one model in a store, or a lone .onnx file, which has no number.

    `model` is the name under which Triton serves it: a lone file has none of its own and takes the ModelServe's.
    """

    model: str
    number: int | None
    uri: str
    digest: str
    train_job: str | None = None

    @property
    def suffix(self) -> str:
        """Ten digits of the digest: in the Deployment's name and in the label that the Service selects by.

        The digest and not the number, since two models, or a store made anew, have the same numbers.
        """
        return self.digest.removeprefix("sha256:")[:10]

    def __str__(self) -> str:
        return f"{self.model} version {self.number}" if self.number is not None else self.uri


def write(version: Version) -> str:
    """Return the text of the annotation."""
    return json.dumps(asdict(version), sort_keys=True)


def read(deployment: Mapping[str, Any]) -> Version | None:
    """Return the version that a Deployment serves; None if its annotation cannot be read."""
    text = objects.annotations(deployment).get(ANNOTATION) or ""
    written = said.read(text)
    try:
        return None if written is None else Version(**written)
    except TypeError:
        return None
