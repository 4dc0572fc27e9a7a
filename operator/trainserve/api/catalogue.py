"""The catalogue of named models and data sets with their options, for checks before a pod is created.

A model or a data set is added here by name; the pod's modules (`trainserve.models.zoo`, `trainserve.models.data`) build
it, with the options that were checked here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from trainserve.api.base import ApiType
from trainserve.api.refusal import guess

Task = Literal["classification", "regression"]


class ConvNetOptions(ApiType):
    """Widths of the two hidden layers."""

    channels: int = Field(32, ge=1, le=4096, description="Filters of the convolution.")
    hidden: int = Field(128, ge=1, le=65536, description="Width of the dense layer.")


class RecurrentOptions(ApiType):
    """Options of gru and lstm."""

    hidden: int = Field(128, ge=1, le=16384, description="Width of the state.")
    layers: int = Field(1, ge=1, le=32, description="Layers, stacked.")
    bidirectional: bool = Field(False, description="Let a second network read from bottom to top.")


class ResNetOptions(ApiType):
    """Options of resnet18, resnet34 and resnet50."""

    stem: Literal["auto", "cifar", "imagenet"] = Field(
        "auto",
        description="Layers before the blocks. imagenet: a 7x7 convolution of stride 2 and a max-pool of stride 2, a "
        "quarter of the size at once; cifar: a 3x3 convolution that keeps it; auto: by the size of the images.",
    )


class ResNet9Options(ApiType):
    """Options of resnet9."""

    width: int = Field(
        64, ge=1, le=1024, description="Channels of the first convolution; the last one has eight times as many."
    )


MODELS: Mapping[str, type[ApiType]] = {
    "convnet": ConvNetOptions,
    "gru": RecurrentOptions,
    "lstm": RecurrentOptions,
    "resnet18": ResNetOptions,
    "resnet34": ResNetOptions,
    "resnet50": ResNetOptions,
    "resnet9": ResNet9Options,
}
"""Models of the zoo by name, with their options."""
REFUSED_MODELS = {
    "rnn": "'rnn' is refused: PyTorch exports a plain RNN with its number of time steps frozen; use 'lstm' or 'gru'"
}
"""Models that one would look for here, and why they are not."""
TIMM = "timm/"
"""How names of timm's models begin here; which there are timm alone knows."""
TIMM_REFUSED_OPTIONS = {
    "in_chans": "the data set's images determine it",
    "num_classes": "the data set's labels determine it",
    "pretrained": "weights come from model.pretrained",
    "pretrained_cfg": "weights come from model.pretrained",
    "pretrained_cfg_overlay": "weights come from model.pretrained",
    "checkpoint_path": "weights come from model.pretrained",
    "cache_dir": "weights come from model.pretrained",
    "features_only": "a model must give one output per class or target",
    "scriptable": "models are exported, not scripted",
    "exportable": "it is always on",
}
"""Arguments of timm.create_model that are not the manifest's to give, and why."""

Side = Annotated[int, Field(ge=1, le=4096)]


class _SyntheticOptions(ApiType):
    shape: Annotated[list[Side], Field(min_length=3, max_length=3)] = Field(
        [28, 28, 1], description="Height, width and channels."
    )
    samples: int = Field(10_000, ge=1, le=1_000_000_000, description="How many samples there are.")


class SyntheticClasses(_SyntheticOptions):
    """Options of synthetic in a classification."""

    classes: int = Field(10, ge=2, le=100_000, description="How many classes there are.")


class SyntheticTargets(_SyntheticOptions):
    """Options of synthetic in a regression."""

    targets: int = Field(1, ge=1, le=10_000, description="How many numbers each image has.")


class ParquetOptions(ApiType):
    """Options of a data set in format parquet."""

    image: str | None = Field(None, min_length=1, description="Column of the images. Unset: the only one there is.")
    label: str | None = Field(None, min_length=1, description="Column of the labels or values. Unset: by its name.")
    config: str | None = Field(None, min_length=1, description="Config, where a folder holds several.")


@dataclass(frozen=True)
class BuiltIn:
    """Tasks of a named data set, and its options in each."""

    tasks: tuple[Task, ...] = ("classification",)
    options: Mapping[Task, type[ApiType]] = field(default_factory=dict)


DATASETS: Mapping[str, BuiltIn] = {
    "digits": BuiltIn(),
    "fashion-mnist": BuiltIn(),
    "synthetic": BuiltIn(
        tasks=("classification", "regression"),
        options={"classification": SyntheticClasses, "regression": SyntheticTargets},
    ),
}
"""Built-in data sets by name."""


def model_refusal(name: str) -> str | None:
    """Return why there is no model named `name`; None if there is one, or if only timm can tell."""
    if name in MODELS or (name.startswith(TIMM) and name != TIMM):
        return None
    return REFUSED_MODELS.get(name) or unknown(name, [*MODELS, "timm/<name>"])


def model_options(name: str) -> type[ApiType] | None:
    """Return the options of a model; None if the catalogue does not know them, as for models of timm or a script."""
    return MODELS.get(name)


def dataset_refusals(
    name: str, *, digest: str | None, format: str | None, options: Mapping[str, Any], task: Task
) -> list[str]:
    """Return the problems of these fields for a built-in data set, each beginning with the field's name.

    The values of the options are not checked here.
    """
    built_in = DATASETS.get(name)
    if built_in is None:
        return [f"name: {unknown(name, DATASETS)}"]
    problems = []
    if digest is not None:
        problems.append(f"digest: {digest!r} is not allowed; {name} is built in and has its own")
    if format is not None:
        problems.append(f"format: {format!r} is not allowed; {name} is built in and has none")
    if options and not built_in.options:
        problems.append(f"options: {', '.join(options)} is not allowed; {name} takes none")
    if task not in built_in.tasks:
        problems.append(f"task: {task!r} is not allowed; {name} has classes: classification")
    return problems


def unknown(name: str, known: Iterable[str]) -> str:
    """Return the text for an unknown name, such as `'convnte' is unknown; did you mean 'convnet'? known: convnet`."""
    names = sorted(known)
    return f"{name!r} is unknown; {guess(name, names)}known: {', '.join(names)}"
