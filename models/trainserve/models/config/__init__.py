"""CONFIG.json as pydantic types, a file per section: what a run may be, with bounds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, Field, PrivateAttr, ValidationError, model_validator

from trainserve.models.config import refusal
from trainserve.models.config.base import Name, Section, guess, unknown
from trainserve.models.config.checkpoint import Checkpoint
from trainserve.models.config.dataset import Dataset
from trainserve.models.config.energy import Energy
from trainserve.models.config.export import Export, Gates, Parity, Precision
from trainserve.models.config.log import Log
from trainserve.models.config.model import Model
from trainserve.models.config.trainer import Trainer
from trainserve.models.errors import ConfigError

__all__ = [
    "Checkpoint",
    "Config",
    "Dataset",
    "Energy",
    "Export",
    "Gates",
    "Log",
    "Model",
    "Parity",
    "Precision",
    "Trainer",
    "load",
    "options",
    "parse",
    "read",
    "unknown",
]

_Options = TypeVar("_Options", bound=BaseModel)


class Job(Section):
    """Whose run this is. By hand there is no uid, and every run publishes anew."""

    namespace: Name = "default"
    name: Annotated[str, Field(min_length=1, max_length=253)] = "by-hand"
    uid: str | None = None
    attempt: int = Field(1, ge=1)


class Store(Section):
    """Where versions go: the root as this process reaches it, and as others address it."""

    root: str = Field(min_length=1)
    public_root: str | None = None


class Output(Section):
    """The model's name in the store."""

    model: Annotated[Name, Field(max_length=40)]


class Config(Section):
    """One run. Without `output` it trains and measures, and publishes nothing."""

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
        return self

    def spec(self) -> dict[str, Any]:
        """What was asked for, defaults filled in, as the manifest keeps it."""
        return self.model_dump(
            by_alias=True, exclude={"job": True, "store": True, "checkpoint": {"folder"}}, exclude_none=True
        )


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
    try:
        config = Config.model_validate(content)
    except ValidationError as error:
        raise ConfigError(refusal.line(Config, error.errors(include_url=False)[0])) from None
    config._folder = (folder or Path()).absolute()
    return config


def options(kind: type[_Options], given: Mapping[str, Any], field: str) -> _Options:
    """`given` as the options of a model or the like. Raises ConfigError naming `field`."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "extra_forbidden":
            allowed = [info.alias or name for name, info in kind.model_fields.items()]
            name = str(first["loc"][0])
            raise ConfigError(
                f"{field}.{name}: unknown option; {guess(name, allowed)}allowed: {', '.join(allowed)}"
            ) from None
        first["loc"] = (*field.split("."), *first["loc"])
        raise ConfigError(refusal.line(kind, first)) from None
