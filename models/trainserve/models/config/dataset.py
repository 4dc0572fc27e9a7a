"""`dataset`: what it is trained on."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from trainserve.models.config.base import Section, unknown
from trainserve.models.config.uri import Uri, is_fetched
from trainserve.models.data import BUILT_IN, DATASETS

Pixels = Annotated[int, Field(ge=1, le=4096)]


class Split(Section):
    """How samples are divided when the data set brings no test part of its own."""

    test: float = Field(0.2, gt=0, lt=1)


class Dataset(Section):
    """A built-in name, a path, or a URI (s3, https, file) that is fetched into the cache; `digest` is its sha256.

    Beside a path the URI only says where what lies there came from. `format` is npz, images or parquet, told by the
    suffix or the folder where it is not given; `size` is [H, W], to which every image is resized; `mode` is what all of
    them become, without it (auto) grey where all are grey and else RGB.
    """

    name: str | None = None
    path: str | None = Field(None, min_length=1)
    uri: Uri | None = None
    digest: str | None = Field(None, pattern=r"^sha256:[0-9a-f]{64}$")
    format: Literal["npz", "images", "parquet"] | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    size: list[Pixels] | None = None
    mode: Literal["rgb", "grey", "auto"] | None = None
    task: Literal["classification", "regression"] = "classification"
    split: Split = Field(default_factory=Split)

    @field_validator("size", mode="before")
    @classmethod
    def _height_and_width(cls, size: object) -> object:
        if size is not None and not (isinstance(size, list) and len(size) == 2):
            raise ValueError(f"{json.dumps(size, default=str)} is not allowed; must be [height, width] in pixels")
        return size

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if [self.name, self.path or self.uri].count(None) != 1:
            raise ValueError("exactly one of name, path and uri is required, or a path with the uri it came from")
        if self.name is not None:
            self._built_in(self.name)
        elif self.path is None and self.uri is not None and not is_fetched(self.uri):
            raise ValueError(f"uri: {self.uri!r} is read where it is mounted; path must say where that is")
        return self

    def _built_in(self, name: str) -> None:
        if name not in DATASETS:
            raise ValueError(f"name: {unknown(name, DATASETS)}")
        if self.digest is not None:
            raise ValueError(f"digest: {self.digest!r} is not allowed; {name} is built in and has its own")
        if self.format is not None:
            raise ValueError(f"format: {self.format!r} is not allowed; {name} is built in and has none")
        if self.options and not BUILT_IN[name].options:
            raise ValueError(f"options: {', '.join(self.options)} is not allowed; {name} takes none")
        if self.task not in BUILT_IN[name].tasks:
            raise ValueError(f"task: {self.task!r} is not allowed; {name} has classes: classification")
