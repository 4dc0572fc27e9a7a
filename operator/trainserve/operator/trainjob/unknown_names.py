"""The check, before any pod is created, for names that the catalogue lacks and options that its entries do not take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from trainserve.api import catalogue
from trainserve.api.base import ApiType
from trainserve.api.model_source import ModelSource
from trainserve.api.refusal import problems_of
from trainserve.api.training import Dataset, Trainer
from trainserve.api.trainjob import TrainJobSpec
from trainserve.operator.blocked import Refusal

_OF_OPTIMIZERS = {"momentum": ("sgd",)}
"""Fields of the trainer that only some optimizers use, with these optimizers. With any other, a field may only have its
default, which the API server fills in."""


def refuse(spec: TrainJobSpec) -> Refusal | None:
    """Return a refusal that lists every such name and option with the closest known names; None if all are known."""
    problems = [*_of_model(spec.model), *_of_dataset(spec.dataset), *_of_trainer(spec.trainer)]
    return Refusal("Invalid", "\n".join(problems)) if problems else None


def _of_model(model: ModelSource) -> Iterator[str]:
    if model.name is None:
        return
    if (refusal := catalogue.model_refusal(model.name)) is not None:
        yield f"spec.model.name: {refusal}"
    elif (options := catalogue.model_options(model.name)) is not None:
        yield from _of_options(options, model.options or {}, "spec.model.options")
    else:
        for name in sorted((model.options or {}).keys() & catalogue.TIMM_REFUSED_OPTIONS.keys()):
            yield f"spec.model.options.{name}: not allowed; {catalogue.TIMM_REFUSED_OPTIONS[name]}"


def _of_dataset(dataset: Dataset | None) -> Iterator[str]:
    if dataset is None:
        return
    options = dataset.options or {}
    if dataset.name is None:
        if dataset.format == "parquet":
            yield from _of_options(catalogue.ParquetOptions, options, "spec.dataset.options")
        elif dataset.format is not None and options:
            named = ", ".join(options)
            yield f"spec.dataset.options: {named} is not allowed; format {dataset.format} takes none"
        return
    refusals = catalogue.dataset_refusals(
        dataset.name, digest=dataset.digest, format=dataset.format, options=options, task=dataset.task
    )
    yield from (f"spec.dataset.{refusal}" for refusal in refusals)
    if not refusals and options:
        kind = catalogue.DATASETS[dataset.name].options[dataset.task]
        yield from _of_options(kind, options, "spec.dataset.options")


def _of_options(kind: type[ApiType], given: Mapping[str, Any], place: str) -> list[str]:
    try:
        kind.model_validate(given)
    except ValidationError as error:
        return problems_of(error, kind, place)
    return []


def _of_trainer(trainer: Trainer) -> Iterator[str]:
    for name, optimizers in _OF_OPTIMIZERS.items():
        value, default = getattr(trainer, name), Trainer.model_fields[name].default
        if value != default and trainer.optimizer not in optimizers:
            used = f"used by {' and '.join(optimizers)} only"
            yield f"spec.trainer.{name}: {value} is not allowed with optimizer {trainer.optimizer}; {used}"
