"""CONFIG.json as pydantic types, a file per section: what a run may be, with bounds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, Field, PrivateAttr, ValidationError, model_validator

from trainserve import api
from trainserve.api.base import ApiType
from trainserve.api.refusal import problems_of
from trainserve.api.training import (
    CONFIG_FORMAT,
    Augment,
    Energy,
    Export,
    Gates,
    Log,
    Parity,
    Precision,
    Split,
    Trainer,
)
from trainserve.api.trainjob import Output
from trainserve.models.config.sections import Checkpoint, Dataset, Job, Model, Pretrained, Store
from trainserve.models.errors import ConfigError

__all__ = [
    "Augment",
    "Checkpoint",
    "Config",
    "Dataset",
    "Energy",
    "Export",
    "Gates",
    "Job",
    "Log",
    "Model",
    "Output",
    "Parity",
    "Precision",
    "Pretrained",
    "Split",
    "Store",
    "Trainer",
    "checked",
    "load",
    "options",
    "parse",
    "read",
]

_Options = TypeVar("_Options", bound=BaseModel)
_Kind = TypeVar("_Kind", bound="Config")


class Config(ApiType):
    """One run. Without `output` it trains and measures, and publishes nothing."""

    format_version: int = Field(
        CONFIG_FORMAT, ge=1, description="Format of the configuration; a pod refuses a later one than it knows."
    )
    job: Job = Field(default_factory=Job)
    store: Store | None = None
    model: Model
    dataset: Dataset
    trainer: Trainer = Field(default_factory=Trainer)
    checkpoint: Checkpoint | None = None
    export: Export = Field(default_factory=Export)
    gates: Gates = Field(default_factory=Gates)
    energy: Energy = Field(default_factory=Energy)
    log: Log = Field(default_factory=Log)
    output: Output | None = None
    _folder: Path = PrivateAttr(default=Path())

    @property
    def folder(self) -> Path:
        """Where the file is that this was read from: what paths of the model are relative to."""
        return self._folder

    @model_validator(mode="after")
    def _a_place_for_the_output(self) -> Self:
        if self.output is not None and self.store is None:
            raise ValueError("store: required when output is given")
        if not self.export.dynamic_batch:
            raise ValueError("export.dynamicBatch: false is not allowed; must be true")
        return self

    def spec(self) -> dict[str, Any]:
        """What was asked for, defaults filled in, as the manifest keeps it."""
        others: dict[str, Any] = {"format_version": True, "job": True, "store": True, "checkpoint": {"folder"}}
        return self.model_dump(by_alias=True, exclude=others, exclude_none=True)


def load(path: Path) -> Config:
    """Read CONFIG.json. Raises ConfigError with one line that names the field, its value and what is allowed."""
    return parse(read(path), path.parent)


def read(path: Path) -> object:
    """The JSON in a file. Raises ConfigError."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from None


def parse(content: object, folder: Path | None = None) -> Config:
    """A parsed CONFIG.json, which lies in `folder` (the working folder by default), as a Config. Raises ConfigError."""
    return checked(Config, content, folder or Path())


def checked(kind: type[_Kind], content: object, folder: Path) -> _Kind:
    """The content as that kind of Config. Raises ConfigError, for what is new with the versions of both sides."""
    version = content.get("formatVersion", CONFIG_FORMAT) if isinstance(content, dict) else CONFIG_FORMAT
    if isinstance(version, int) and version > CONFIG_FORMAT:
        raise ConfigError(f"formatVersion: {version} is not allowed; {_reads()}")
    try:
        config = kind.model_validate(content)
    except ValidationError as error:
        new = f"; {_reads()}" if error.errors(include_url=False)[0]["type"] == "extra_forbidden" else ""
        raise ConfigError(problems_of(error, kind)[0] + new) from None
    config._folder = folder.absolute()
    return config


def _reads() -> str:
    return f"this is trainserve {api.release()}, which reads configurations of formatVersion {CONFIG_FORMAT}"


def options(kind: type[_Options], given: Mapping[str, Any], field: str) -> _Options:
    """`given` as the options of a model or the like. Raises ConfigError naming `field`."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise ConfigError(problems_of(error, kind, field)[0]) from None
