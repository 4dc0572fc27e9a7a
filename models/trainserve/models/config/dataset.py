"""`dataset`: what it is trained on."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from trainserve.models.config.base import Section, unknown
from trainserve.models.data import DATASETS


class Split(Section):
    """How samples are divided when the data set brings no test part of its own."""

    test: float = Field(0.2, gt=0, lt=1)


class Dataset(Section):
    """Exactly one of a built-in name and a file's path; `uri` says where that file came from."""

    name: str | None = None
    path: str | None = Field(None, min_length=1)
    uri: str | None = None
    split: Split = Field(default_factory=Split)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.name is None) == (self.path is None):
            raise ValueError("exactly one of name and path is required")
        if self.name is not None and self.name not in DATASETS:
            raise ValueError(f"name: {unknown(self.name, DATASETS)}")
        return self
