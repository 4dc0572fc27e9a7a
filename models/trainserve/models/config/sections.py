"""Sections in which a pod's configuration has more than a TrainJob: paths beside addresses, and files of the image."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from trainserve.api import catalogue, model_source, training
from trainserve.api.base import ApiType
from trainserve.api.scalars.address import Uri, is_fetched
from trainserve.api.scalars.names import Name


class Job(ApiType):
    """Whose run this is. By hand there is no uid, and every run publishes anew."""

    namespace: Name = Field("default", description="Namespace of the TrainJob.")
    name: Annotated[str, Field(min_length=1, max_length=253)] = Field("by-hand", description="Name of the TrainJob.")
    uid: str | None = Field(
        None,
        description="Its uid; an attempt that finds a version published under this uid reports that one. Unset: every"
        " run publishes a new version.",
    )
    attempt: int = Field(1, ge=1, description="Number of the attempt.")


class Store(ApiType):
    """Where versions go: the root as this process reaches it, and as others address it."""

    root: str = Field(
        min_length=1,
        description="Root of the model store as the pod reaches it: a mounted folder or s3://<bucket>/<prefix>.",
    )
    public_root: str | None = Field(None, description="Root of the model store as others address it. Unset: root.")


class Checkpoint(training.Checkpoint):
    """A new attempt with the same `folder` goes on from the newest."""

    folder: str = Field(min_length=1, description="Folder of the checkpoints, the same for every attempt.")


class Pretrained(model_source.Pretrained):
    """A file of weights: its path, or an address (s3, https, file) that is fetched into the cache.

    With `path`, `uri` only records the file's origin.
    """

    path: str | None = Field(None, min_length=1, description="Path of the file in the pod.")
    uri: Uri | None = Field(  # type: ignore[assignment]
        None,
        description="Address of the file (s3://, https:// or file://), from which it is fetched. With path: only a "
        "record of its origin.",
    )
    rules = ()

    @model_validator(mode="after")
    def _a_source(self) -> Self:
        if self.path is None and self.uri is None:
            raise ValueError("one of path and uri is required")
        if self.path is None and self.uri is not None and not is_fetched(self.uri):
            raise ValueError(f"uri: {self.uri!r} is read where it is mounted; path must say where that is")
        return self


class Model(model_source.ModelFields):
    """A model of the zoo or of timm by name, or the user's own function that builds one, and its arguments."""

    script: str | None = Field(
        None,
        description="Path of the user's own Python file in the pod, with :<function> if a function returns the model.",
    )
    options: dict[str, Any] = Field(default_factory=dict)
    pretrained: Pretrained | None = None
    freeze: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)

    @field_validator("script")
    @classmethod
    def _file_and_function(cls, script: str | None) -> str | None:
        if script is not None and not re.fullmatch(r"[^:]+\.py(:[A-Za-z_]\w*)?", script):
            raise ValueError(f'{json.dumps(script)} is not allowed; must be "path.py:function", or "path.py"')
        return script

    @model_validator(mode="after")
    def _known(self) -> Self:
        if (self.name is None) == (self.script is None):
            raise ValueError("exactly one of name and script is required")
        for field, value in (("args", self.args), ("env", self.env)):
            if value is not None:
                raise ValueError(f"{field}: not allowed; they are a whole script's, which names no function")
        if self.name is not None and (reason := catalogue.model_refusal(self.name)) is not None:
            raise ValueError(f"name: {reason}")
        return self

    def __str__(self) -> str:
        return self.name or self.script or ""


class Dataset(training.Dataset):
    """A built-in name, a path, or an address (s3, https, file) that is fetched into the cache.

    With `path`, `uri` only records the file's origin.
    """

    path: str | None = Field(None, min_length=1, description="Path of the file or folder in the pod.")
    uri: Uri | None = Field(
        None,
        description="Address of the file or folder (s3://, https:// or file://), from which it is fetched. With path:"
        " only a record of its origin.",
    )
    options: dict[str, Any] = Field(default_factory=dict)
    split: training.Split = Field(default_factory=training.Split)
    rules = ()

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
            for problem in catalogue.dataset_refusals(
                self.name, digest=self.digest, format=self.format, options=self.options, task=self.task
            ):
                raise ValueError(problem)
        elif self.path is None and self.uri is not None and not is_fetched(self.uri):
            raise ValueError(f"uri: {self.uri!r} is read where it is mounted; path must say where that is")
        return self
