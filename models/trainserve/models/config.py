"""CONFIG.json as pydantic types: what a run may be, with bounds, and bad input said in one line."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from trainserve.models.data import DATASETS
from trainserve.models.errors import UserError
from trainserve.models.zoo import MODELS

_Options = TypeVar("_Options", bound=BaseModel)


class _Section(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=False,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )


_Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)]


class Job(_Section):
    """Whose run this is. By hand there is no uid, and every run publishes anew."""

    namespace: _Name = "default"
    name: Annotated[str, Field(min_length=1, max_length=253)] = "by-hand"
    uid: str | None = None
    attempt: int = Field(1, ge=1)


class Store(_Section):
    """Where versions go: the root as this process reaches it, and as others address it."""

    root: str = Field(min_length=1)
    public_root: str | None = None


class Model(_Section):
    """A model of the zoo and its arguments."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.name not in MODELS:
            raise ValueError(f"name: {unknown(self.name, MODELS)}")
        return self


class Split(_Section):
    """How samples are divided when the data set brings no test part of its own."""

    test: float = Field(0.2, gt=0, lt=1)


class Dataset(_Section):
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


class Trainer(_Section):
    """Hyperparameters."""

    epochs: int = Field(5, ge=1, le=100_000)
    batch_size: int = Field(64, ge=1, le=1_048_576)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(0.001, gt=0, le=10)
    precision: Literal["auto", "fp32"] = "auto"
    seed: int = Field(0, ge=0, le=2**32 - 1)


class Parity(_Section):
    """|onnx - torch| <= atol + rtol * |torch|."""

    rtol: float = Field(1e-3, ge=0, le=1)
    atol: float = Field(1e-5, ge=0, le=1)


class Export(_Section):
    """How the trained model becomes ONNX."""

    opset: int = Field(18, ge=18, le=20)
    precision: Literal["fp32"] = "fp32"
    dynamic_batch: Literal[True] = True
    parity: Parity = Field(default_factory=Parity)


class Gates(_Section):
    """What must hold before anything is published."""

    min_accuracy: float | None = Field(None, ge=0, le=1)


class Output(_Section):
    """The model's name in the store."""

    model: Annotated[_Name, Field(max_length=40)]


class Config(_Section):
    """One run. Without `output` it trains and measures, and publishes nothing."""

    job: Job = Field(default_factory=Job)
    store: Store | None = None
    model: Model
    dataset: Dataset
    trainer: Trainer = Field(default_factory=Trainer)
    export: Export = Field(default_factory=Export)
    gates: Gates = Field(default_factory=Gates)
    output: Output | None = None

    @model_validator(mode="after")
    def _a_place_for_the_output(self) -> Self:
        if self.output is not None and self.store is None:
            raise ValueError("store: required when output is given")
        return self

    def spec(self) -> dict[str, Any]:
        """What was asked for, defaults filled in, as the manifest keeps it."""
        return self.model_dump(by_alias=True, exclude={"job", "store"}, exclude_none=True)


def load(path: Path) -> Config:
    """Read CONFIG.json. Raises UserError with one line that names the field, its value and what is allowed."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from None
    return parse(content)


def parse(content: object) -> Config:
    """A parsed CONFIG.json as a Config. Raises UserError."""
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        raise UserError(_line(error.errors(include_url=False)[0])) from None


def unknown(name: str, known: Iterable[str]) -> str:
    """`'convnte' is unknown; did you mean 'convnet'? known: convnet`."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    guess = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"{name!r} is unknown; {guess}known: {', '.join(names)}"


_BOUNDS = {"greater_than": (">", "gt"), "greater_than_equal": (">=", "ge"), "less_than": ("<", "lt")}
_BOUNDS["less_than_equal"] = ("<=", "le")


def _line(error: ErrorDetails) -> str:
    """One of pydantic's errors in this project's form: field, value, what is allowed."""
    field, kind, context = ".".join(map(str, error["loc"])), error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        siblings = _fields(error["loc"][:-1])
        return f"{field}: unknown field; allowed: {', '.join(siblings)}"
    if kind == "missing":
        return f"{field}: required"
    if kind == "value_error":
        return (
            f"{field}{'.' if field and _names_a_field(context['error']) else ': ' if field else ''}{context['error']}"
        )
    value = json.dumps(error["input"], default=str)
    if kind in _BOUNDS:
        sign, bound = _BOUNDS[kind]
        return f"{field}: {value} is not allowed; must be {sign} {context[bound]}"
    if kind == "literal_error":
        return f"{field}: {value} is not allowed; must be {context['expected'].replace('True', 'true')}"
    return f"{field or 'config'}: {value} is not allowed; {error['msg'].replace('Input should', 'must')}"


def _names_a_field(error: object) -> bool:
    return str(error).startswith("name: ")


def _fields(section: tuple[int | str, ...]) -> list[str]:
    """The fields that a section of the config has."""
    model: type[BaseModel] = Config
    for part in section:
        info = next(info for info in model.model_fields.values() if info.alias == part)
        model = next(kind for kind in _kinds(info.annotation) if isinstance(kind, type) and issubclass(kind, BaseModel))
    return [info.alias or name for name, info in model.model_fields.items()]


def _kinds(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__args__", (annotation,))


def options(kind: type[_Options], given: Mapping[str, Any], field: str) -> _Options:
    """`given` as the options of a model or the like. Raises UserError naming `field`."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "extra_forbidden":
            allowed = ", ".join(info.alias or name for name, info in kind.model_fields.items())
            raise UserError(f"{field}.{first['loc'][0]}: unknown option; allowed: {allowed}") from None
        first["loc"] = (*field.split("."), *first["loc"])
        raise UserError(_line(first)) from None
