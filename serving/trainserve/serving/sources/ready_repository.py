"""Triton model repositories that are served as they are: checked model by model, with one digest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import text_format  # type: ignore[import-untyped]

from trainserve.api.reasons import Reason
from trainserve.serving.protocol.triton_types import messages
from trainserve.serving.sources import not_onnx, onnx_graph, releases
from trainserve.serving.sources.origins import inside
from trainserve.store import StoreError, signing

CONFIG = "config.pbtxt"
_CHUNK = 1 << 20


class InvalidRepository(StoreError):
    """A folder of the repository that Triton cannot serve; the message names it."""

    reason = Reason.UNSERVABLE_MODEL


@dataclass(frozen=True)
class ReadyRepository:
    """A repository that is served as it is. `digest` is that of its listing (`listing_digest`)."""

    folder: Path
    models: tuple[str, ...]
    digest: str
    hold: object = field(default=None, repr=False, compare=False)
    """Keeps the cache from evicting it while this object exists."""


def files(folder: Path) -> list[str]:
    """List all files below a folder, sorted, without its signature. Raises EscapingName, InvalidRepository."""
    found = []
    for below, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(below, name)
            relative = path.relative_to(folder).as_posix()
            inside(folder, relative)
            if path.is_dir():
                if path.is_symlink():
                    raise InvalidRepository(f"{path}: a link to a folder is not allowed in a repository")
            elif not path.is_file():
                raise InvalidRepository(f"{path}: neither a file nor a folder; nothing else is allowed")
            elif relative != signing.OF_REPOSITORY:
                found.append(relative)
    return sorted(found)


def listing_digest(entries: Iterable[tuple[str, str]]) -> str:
    """Return the sha256 of what `sha256sum` prints for files, given as (name, sha256 in hex), in the names' order.

    In a shell: `find * -type f ! -name repository.sig | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum`.
    """
    lines = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(entries))
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def restore_ensembles(folder: Path) -> None:
    """Create each ensemble's empty version folder, which object stores and many archives do not keep."""
    for config in folder.glob(f"*/{CONFIG}"):
        alone = not any(path.is_dir() for path in config.parent.iterdir())
        if alone and _config(config.parent).platform == "ensemble":
            (config.parent / "1").mkdir()


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file in hex. Raises StoreError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StoreError.of("read", path, error) from error


def digest(folder: Path) -> str:
    """Return the digest of a repository's folder; reads every byte."""
    return listing_digest((name, sha256_of(folder / name)) for name in files(folder))


def graph_digest(path: Path, graph: onnx_graph.Graph) -> str:
    """Return the digest of a lone graph: its file's sha256, or with external data that of the listing of its files."""
    own = sha256_of(path)
    if not graph.external:
        return f"sha256:{own}"
    beside = [(name, sha256_of(path.parent / name)) for name in graph.external]
    return listing_digest([(path.name, own), *beside])


def models(folder: Path, server: releases.Release | None) -> tuple[str, ...]:
    """Check each model for `server`, and list their names. Raises InvalidRepository, and what a graph raises."""
    found = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if (folder / CONFIG).is_file():
        raise InvalidRepository(f"{folder}: {not_onnx.of_folder([CONFIG], str(folder))}")
    if not found:
        raise InvalidRepository(f"{folder}: holds no model; a repository has a folder for each")
    for path in found:
        _check(path, server)
    return tuple(path.name for path in found)


def _check(folder: Path, server: releases.Release | None) -> None:
    config = _config(folder)
    versions = sorted((path for path in folder.iterdir() if path.is_dir() and path.name.isdecimal()), key=_number)
    if not versions:
        raise InvalidRepository(f"{folder}: holds no version; a model has a folder 1, 2, …")
    if config.platform == "ensemble":
        return  # its version's folder is empty
    for version in versions:
        if version.name != str(int(version.name)) or int(version.name) == 0:
            raise InvalidRepository(f"{version}: not a version; must be 1, 2, … without leading zeros")
        if not any(version.iterdir()):
            raise InvalidRepository(f"{version}: holds no file")
        _check_graphs(version, config, server)


def _check_graphs(version: Path, config: Any, server: releases.Release | None) -> None:
    """Check the graph that an onnxruntime model's configuration names, or the default one that Triton looks for."""
    onnx = config.backend == "onnxruntime" or config.platform == "onnxruntime_onnx"
    name = config.default_model_filename or "model.onnx"
    path = version / name
    if not path.exists():
        if onnx:
            raise InvalidRepository(f"{path}: missing; its config says that it is an ONNX model")
        return
    if path.is_file() and (onnx or path.suffix == ".onnx"):
        graph = onnx_graph.read(path)
        releases.check(graph.opset, graph.ir_version, str(path), server)
        for external in graph.external:
            if not (version / external).is_file():
                raise InvalidRepository(f"{version / external}: missing; {path.name} says that weights lie in it")


def _config(folder: Path) -> Any:
    """Parse config.pbtxt; empty if there is none: Triton then asks the backend."""
    path = folder / CONFIG
    config = messages().ModelConfig()
    if not path.is_file():
        return config
    try:
        text_format.Parse(path.read_text(), config)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InvalidRepository(f"{path}: {error}") from None
    if config.name and config.name != folder.name:
        raise InvalidRepository(f"{path}: name: {config.name!r} must be that of its folder, {folder.name!r}, or unset")
    return config


def _number(path: Path) -> int:
    return int(path.name)
