"""From a config to a data set: what it names is found or fetched, and read by the reader of its format."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from trainserve.models.config import Dataset as DatasetConfig
from trainserve.models.data import arrays, digits
from trainserve.models.data.cache import Cache
from trainserve.models.data.dataset import Dataset
from trainserve.models.data.source import Part, Source
from trainserve.models.data.watch import Watch
from trainserve.models.errors import DataError, UserError

Size = tuple[int, int]
"""(H, W)."""
Format = Literal["npz", "images", "parquet"]
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
_SUFFIXES: dict[str, Format] = {".npz": "npz", ".parquet": "parquet", **dict.fromkeys(ARCHIVES, "images")}


def load(config: DatasetConfig, seed: int, watch: Watch | None, folder: Path) -> Dataset:
    """See data.load."""
    cache = Cache(watch or Watch.alone())
    size = None if config.size is None else (config.size[0], config.size[1])
    with _as_users_know_them() as known_as:
        if config.name is not None:
            source = _resized(_built_in(config.name, config, seed, cache), size)
        else:
            source = _found(config, folder, size, cache, known_as)
        return arrays.dataset(source, config.split.test, seed, cache)


def format_of(name: str, folder: bool) -> Format:
    """By the suffix of a file's name; folders and archives are of images. Raises DataError."""
    if folder:
        return "images"
    for suffix, kind in _SUFFIXES.items():
        if name.lower().endswith(suffix):
            return kind
    allowed = ", ".join(_SUFFIXES)
    raise DataError(f"{name}: unknown format; must end in {allowed}, be a folder, or dataset.format must say which")


def _built_in(name: str, config: DatasetConfig, seed: int, cache: Cache) -> Source:
    match name:
        case "fashion-mnist":
            from trainserve.models.data import fashion

            return fashion.source(cache)
        case "synthetic":
            from trainserve.models.data import synthetic

            return synthetic.source(config.options, config.task, seed)
    return digits.source()


def _found(config: DatasetConfig, folder: Path, size: Size | None, cache: Cache, known_as: dict[str, str]) -> Source:
    """`known_as` gets what lies in the cache, each with the name under which the user knows it."""
    from trainserve.models.data import digests

    given = config.path or config.uri
    assert given is not None
    bare = urlsplit(given).path if given.startswith("https://") else given
    kind_of = partial(_kind, config, bare)
    if config.path is not None:
        path = folder / config.path
        if not path.exists():
            raise DataError(f"{path}: No such file or directory")
        kind = kind_of(path.is_dir())
        digest = digests.verified(path, config.digest, cache) if config.digest else digests.fingerprint(path)
        content = config.digest
    else:
        from trainserve.models.data import staging

        path, digest = staging.stage(given, config.digest, kind_of, cache)
        content = digest
        kind = kind_of(path.is_dir())
        known_as[str(path)] = given.rstrip("/")
    if kind == "images" and not path.is_dir():
        from trainserve.models.data import archive

        path = archive.unpacked(path, digest, cache)
        known_as[str(path)] = given
    return replace(_read(kind, path, Path(bare).name.split(".")[0], config, digest, size, cache), content=content)


def _read(
    kind: Format, path: Path, name: str, config: DatasetConfig, digest: str, size: Size | None, cache: Cache
) -> Source:
    match kind:
        case "npz":
            from trainserve.models.data import npz

            return _resized(npz.source(path, name, config.task, digest, cache), size)
        case "images":
            from trainserve.models.data import images

            return images.source(path, name, size, digest)
        case "parquet":
            from trainserve.models.data import parquet

            return parquet.source(path, name, config.options, config.task, size, digest)


def _kind(config: DatasetConfig, given: str, folder: bool) -> Format:
    """The format, once what the config asks of it is possible."""
    kind = config.format or format_of(given, folder)
    if kind != "parquet" and config.options:
        raise UserError(f"dataset.options: {', '.join(config.options)} is not allowed; format {kind} takes none")
    if kind == "images" and config.task == "regression":
        raise UserError("dataset.task: 'regression' is not allowed; a folder of images has classes")
    return kind


@contextlib.contextmanager
def _as_users_know_them() -> Iterator[dict[str, str]]:
    """Inside, errors that name a file of the cache name it as the dictionary says."""
    names: dict[str, str] = {}
    try:
        yield names
    except DataError as error:
        text = str(error)
        for path, name in names.items():
            text = text.replace(path, name)
        raise DataError(text) from error


def _resized(source: Source, size: Size | None) -> Source:
    """Readers of encoded images resize while they decode; this is for the others."""
    if size is None or size == source.shape[:2]:
        return source
    from trainserve.models.data import pixels

    def part(given: Part) -> Part:
        return Part(given.targets, lambda: (pixels.resized(block, size) for block in given.blocks()))

    return replace(
        source,
        shape=(*size, source.shape[2]),
        train=part(source.train),
        test=None if source.test is None else part(source.test),
        digest=hashlib.sha256(f"{source.digest} {size}".encode()).hexdigest(),
        encoded=True,
    )
