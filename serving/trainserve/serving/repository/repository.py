"""Triton model repositories: `<repository>/<model>/{config.pbtxt,labels.txt,<version>/…}` for each model."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import text_format  # type: ignore[import-untyped]

from trainserve.api.pod import model_flags
from trainserve.serving.protocol.triton_types import UnservableModel, described, messages
from trainserve.serving.repository.model_config import (
    LABELS,
    asked,
    config_text,
    histogram,
    instance_group,
    model_config,
)
from trainserve.serving.repository.settings import InvalidSettings, Settings
from trainserve.serving.sources.ready_repository import CONFIG, ReadyRepository
from trainserve.serving.sources.servable import Servable
from trainserve.store import Batching

DIGEST = "trainserve_digest"
"""Prefix of the parameters that record the digest of each version: `trainserve_digest_<version>`."""


@dataclass(frozen=True)
class Entry:
    """One version of a model, and the name to serve it under. Entries with the same name are versions of one model."""

    name: str
    model: Servable
    settings: Settings = field(default_factory=Settings)
    version: int = 1


@dataclass(frozen=True)
class Folder:
    """One model of a repository: its configuration, and its files by their paths in the folder.

    `links` are existing files, `contents` are generated ones.
    """

    config: Any
    versions: tuple[int, ...] = (1,)
    links: dict[str, Path] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    ours: bool = False
    """Whether the files are in our cache, so that hard links to them are harmless."""
    batching: Batching | None = None
    """Whether requests are batched, and why; None for an ensemble and its steps, which follow their model."""


def entries(models: Sequence[Servable], settings: Settings) -> list[Entry]:
    """Return an entry for each model, under its own name; those of one name are versions, numbered as in the store.

    Raises InvalidSettings if they have no such numbers.
    """
    found = []
    for model in models:
        version, alike = 1, [each for each in models if each.name == model.name]
        if len(alike) > 1:
            numbers = [each.manifest.version for each in alike if each.manifest is not None]
            if len(set(numbers)) < len(alike) or model.manifest is None:
                raise InvalidSettings(f"model {model.name} is given {len(alike)} times; give each version once")
            version = model.manifest.version
        found.append(Entry(model.name, model, settings, version))
    return found


def layout(entries: Sequence[Entry], gpus: int = 0, buckets: Sequence[float] = ()) -> list[Folder]:
    """Return the models of a repository for a server with `gpus`, including ensembles and their steps.

    `buckets` are the bounds of each model's latency histogram, for a server that has one (api/triton_releases.py).
    Raises UnservableModel, InvalidSettings, and OSError if recorded samples cannot be read.
    """
    folders: list[Folder] = []
    for name in dict.fromkeys(entry.name for entry in entries):
        folders += _model([entry for entry in entries if entry.name == name], gpus, buckets)
    names = [folder.config.name for folder in folders]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidSettings(f"settings.ensemble: {', '.join(twice)} is the name of another model, too")
    return folders


def of_ready(ready: ReadyRepository) -> list[Folder]:
    """Return the models of a ready repository, each as it is. Raises OSError."""
    folders = []
    for name in ready.models:
        path = ready.folder / name
        config = messages().ModelConfig()
        if (path / CONFIG).is_file():
            text_format.Parse((path / CONFIG).read_text(), config)
        config.name = name
        files = {str(each.relative_to(path)): each for each in path.rglob("*") if each.is_file()}
        files.pop(CONFIG, None)
        versions = tuple(int(each.name) for each in path.iterdir() if each.is_dir() and each.name.isdecimal())
        folders.append(Folder(config, versions, links=files))
    return folders


def write(
    entries: Sequence[Entry], repository: Path, gpus: int = 0, buckets: Sequence[float] = (), *, ours: bool = False
) -> None:
    """Write these models, and no others, to `repository` (`write_folders`). Raises what `layout` raises."""
    write_folders(layout(entries, gpus, buckets), repository, ours=ours)


def write_folders(folders: Iterable[Folder], repository: Path, *, ours: bool = False) -> None:
    """Write these folders, and no others, to `repository`, in one step.

    Graphs and their external data are copied, or if they are `ours`, hard-linked where the file system supports it. A
    user's files are never hard-linked, because onnx reads no external weights from a file with two links.
    """
    aside = repository.with_name(f".{repository.name}-{secrets.token_hex(4)}")
    try:
        for folder in folders:
            _write(folder, aside / folder.config.name, ours or folder.ours)
        if repository.exists():
            shutil.rmtree(repository)
        aside.rename(repository)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def server_flags(settings: Iterable[Settings], *, histogram: bool = False) -> list[str]:
    """Return additional flags of `tritonserver` for the settings of all its models, and for its latency histogram."""
    wanted = list(settings)
    return model_flags(
        response_cache=any(each.response_cache for each in wanted),
        rate_limiter=any(each.rate_limiter is not None for each in wanted),
        histogram=histogram,
    )


def _write(folder: Folder, path: Path, ours: bool) -> None:
    for version in folder.versions:
        (path / str(version)).mkdir(parents=True)  # an ensemble's must exist too, and stays empty
    for name, source in folder.links.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (_link if ours else shutil.copyfile)(source, path / name)
    for name, content in {**folder.contents, CONFIG: config_text(folder.config).encode()}.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        # Another file system, one without links, or another user's file (fs.protected_hardlinks).
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK):
            raise
        shutil.copyfile(source, target)


def _model(versions: Sequence[Entry], gpus: int, buckets: Sequence[float]) -> Iterator[Folder]:
    newest = max(versions, key=lambda entry: entry.version)
    for entry in versions:
        _check_alike(entry, newest)
    name, model, batching = newest.name, newest.model, _batching(versions)
    settings = newest.settings.model_copy(update={"batch_axis": batching.axis})
    model = asked(model, settings)
    numbers = tuple(entry.version for entry in versions)
    config = model_config(name, model, settings, gpus=gpus, versions=numbers, buckets=buckets)
    for entry in versions:
        config.parameters[f"{DIGEST}_{entry.version}"].string_value = entry.model.digest
    links = {f"{entry.version}/{file}": entry.model.folder / file for entry in versions for file in entry.model.files}
    contents = {}
    if model.labelled_output:
        contents[LABELS] = "".join(_label_lines(model.labels)).encode()
    if settings.warmup:
        from trainserve.serving.repository import warmup

        contents |= warmup.files(model, warmup.sample(model))
    ours = all(entry.model.hold is not None and len(entry.model.files) == 1 for entry in versions)
    yield Folder(config, numbers, links, contents, ours, batching)
    if settings.ensemble is not None:
        for folder in _ensemble(name, model, settings, config.max_batch_size, gpus):
            histogram(folder.config, buckets)
            yield folder


def _batching(versions: Sequence[Entry]) -> Batching:
    """Return the batching of all versions, which share one configuration: batched only if each of them is."""
    found = [asked(entry.model, entry.settings).batching for entry in versions]
    return next((each for each in found if each.axis == "none"), found[-1])


def _ensemble(name: str, model: Servable, settings: Settings, max_batch: int, gpus: int) -> Iterator[Folder]:
    from trainserve.serving.repository import ensemble  # imports onnx, which takes time

    assert settings.ensemble is not None
    scores = model.labelled_output
    steps = ensemble.steps(name, model, scores, settings.ensemble)
    pb = messages()
    for step in steps:
        config = pb.ModelConfig(
            name=step.name,
            backend="onnxruntime",
            max_batch_size=max_batch,
            input=[pb.ModelInput(**described(tensor, batched=max_batch > 0)) for tensor in step.inputs],
            output=[pb.ModelOutput(**described(tensor, batched=max_batch > 0)) for tensor in step.outputs],
            instance_group=[instance_group(settings.instances, gpus if step.gpu else 0)],
        )
        config.parameters["intra_op_thread_count"].string_value = str(settings.threads)
        if max_batch:
            config.dynamic_batching.SetInParent()
        yield Folder(config, contents={"1/model.onnx": step.graph})
    yield Folder(ensemble.config(name, model, scores, steps, max_batch))


def _check_alike(entry: Entry, newest: Entry) -> None:
    """Check that versions agree in what their common config.pbtxt describes."""
    if entry.settings != newest.settings:
        raise InvalidSettings(f"model {entry.name}: versions {entry.version} and {newest.version} differ in settings")
    for told, tensors, others in (
        ("inputs", entry.model.inputs, newest.model.inputs),
        ("outputs", entry.model.outputs, newest.model.outputs),
        ("labels", entry.model.labels, newest.model.labels),
        ("file name", entry.model.graph, newest.model.graph),
    ):
        if tensors != others:
            raise UnservableModel(
                f"model {entry.name}: versions {entry.version} and {newest.version} differ in their {told}; "
                "serve them under two names"
            )


def _label_lines(labels: Iterable[str]) -> Iterator[str]:
    # Triton reads one label per line and has no escapes.
    return (" ".join(label.split()) + "\n" for label in labels)
