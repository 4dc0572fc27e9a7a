"""Writes a Triton model repository: `<repository>/<model>/{config.pbtxt,labels.txt,<version>/…}` for each model."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trainserve.serving.model_config import LABELS, UnservableModel, config_text, labelled_output, model_config
from trainserve.serving.servable import Servable
from trainserve.serving.settings import CACHE_BYTES, InvalidSettings, Settings


@dataclass(frozen=True)
class Entry:
    """One version of one model, and the name under which it is served. Entries of one name are its versions."""

    name: str
    model: Servable
    settings: Settings = field(default_factory=Settings)
    version: int = 1


def write(entries: Sequence[Entry], repository: Path, gpus: int = 0) -> None:
    """Makes `repository` hold exactly these models, for a server with `gpus`. Raises UnservableModel, InvalidSettings.

    The graphs and their external data are hard links, so the models must lie on the same file system.
    """
    aside = repository.with_name(f".{repository.name}-{secrets.token_hex(4)}")
    try:
        for name in dict.fromkeys(entry.name for entry in entries):
            _write([entry for entry in entries if entry.name == name], aside / name, gpus)
        if repository.exists():
            shutil.rmtree(repository)
        aside.rename(repository)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def server_flags(settings: Iterable[Settings]) -> list[str]:
    """What `tritonserver` must be told besides, for the settings of all its models."""
    wanted = list(settings)
    flags = []
    if any(each.response_cache for each in wanted):
        flags.append(f"--cache-config=local,size={CACHE_BYTES}")
    if any(each.rate_limiter is not None for each in wanted):
        flags.append("--rate-limit=execution_count")
    return flags


def _write(versions: Sequence[Entry], folder: Path, gpus: int) -> None:
    newest = max(versions, key=lambda entry: entry.version)
    for entry in versions:
        _check_alike(entry, newest)
    name, model = newest.name, newest.model
    config = model_config(name, model, newest.settings, gpus=gpus, versions=[entry.version for entry in versions])
    for entry in versions:
        graphs = folder / str(entry.version)
        graphs.mkdir(parents=True)
        for file in entry.model.files:
            os.link(entry.model.folder / file, graphs / file)
    (folder / "config.pbtxt").write_text(config_text(config))
    if labelled_output(model):
        (folder / LABELS).write_text("".join(_label_lines(model.labels)))


def _check_alike(entry: Entry, newest: Entry) -> None:
    """One config.pbtxt describes all versions of a model."""
    if entry.settings != newest.settings:
        raise InvalidSettings(f"model {entry.name}: versions {entry.version} and {newest.version} differ in settings")
    for told, tensors, others in (
        ("inputs", entry.model.inputs, newest.model.inputs),
        ("outputs", entry.model.outputs, newest.model.outputs),
        ("labels", entry.model.labels, newest.model.labels),
    ):
        if tensors != others:
            raise UnservableModel(
                f"model {entry.name}: versions {entry.version} and {newest.version} differ in their {told}; "
                "serve them under two names"
            )


def _label_lines(labels: Iterable[str]) -> Iterable[str]:
    # Triton reads one label a line and knows no escape.
    return (" ".join(label.split()) + "\n" for label in labels)
