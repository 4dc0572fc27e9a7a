"""From a config to a data set: find or fetch the file or folder, and read it by the reader of its format."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from trainserve.models.config import Dataset as DatasetConfig
from trainserve.models.data import arrays, digits
from trainserve.models.data.cache import Cache
from trainserve.models.data.dataset import Dataset
from trainserve.models.data.source import Part, Source
from trainserve.models.data.watch import Watch
from trainserve.models.errors import ConfigError, DataError

if TYPE_CHECKING:
    from trainserve.models.data.looks import Asked

Size = tuple[int, int]
"""(H, W)."""
Format = Literal["npz", "images", "parquet"]
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
_SUFFIXES: dict[str, Format] = {".npz": "npz", ".parquet": "parquet", **dict.fromkeys(ARCHIVES, "images")}


def load(config: DatasetConfig, seed: int, watch: Watch | None, folder: Path) -> Dataset:
    """As `data.load`."""
    cache = Cache(watch or Watch.alone())
    size = None if config.size is None else (config.size[0], config.size[1])
    with _as_users_know_them() as known_as:
        if config.name is not None:
            source = _resized(_recoloured(_built_in(config.name, config, seed, cache), config.mode), size)
        else:
            source = _found(config, folder, size, cache, known_as)
        return arrays.dataset(source, config.split.test, seed, cache)


def format_of(name: str, folder: bool) -> Format:
    """The format by the suffix of `name`; folders and archives hold images. Raises DataError."""
    if folder:
        return "images"
    for suffix, kind in _SUFFIXES.items():
        if name.lower().endswith(suffix):
            return kind
    allowed = ", ".join(_SUFFIXES)
    raise DataError(f"{name}: unknown format; must be a folder or end in {allowed}; or set dataset.format")


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
    """The source at the config's path or URI; `known_as` is filled with cache paths and the user's names of them."""
    from trainserve.models.data import digests

    given = config.path or config.uri
    assert given is not None
    bare = urlsplit(given).path if given.startswith("https://") else given
    check = partial(_allowed, config, bare)
    if config.path is not None:
        path = folder / config.path
        if not path.exists():
            raise DataError(f"{path}: No such file or directory")
        check(path.is_dir())
        digest = digests.verified(path, config.digest, cache) if config.digest else digests.fingerprint(path)
        content = config.digest
    else:
        from trainserve.models.data import staging

        path, digest = staging.stage(given, config.digest, check, cache)
        content = digest
        known_as[str(path)] = given.rstrip("/")
    if not path.is_dir() and (config.format == "images" or bare.lower().endswith(ARCHIVES)):
        from trainserve.models.data import archive

        path = archive.unpacked(path, digest, cache)
        known_as[str(path)] = given
    kind = config.format or (_format_of_folder(path) if path.is_dir() else format_of(bare, False))
    _possible(config, kind)
    return replace(_read(kind, path, Path(bare).name.split(".")[0], config, digest, size, cache), content=content)


def _format_of_folder(path: Path) -> Format:
    from trainserve.models.data import hub

    return "parquet" if hub.holds_parquet(path) else "images"


def _read(
    kind: Format, path: Path, name: str, config: DatasetConfig, digest: str, size: Size | None, cache: Cache
) -> Source:
    mode = config.mode or "auto"
    match kind:
        case "npz":
            from trainserve.models.data import npz

            source = npz.source(path, name, config.task, digest, cache)
            return _resized(_recoloured(source, config.mode), size)
        case "images":
            from trainserve.models.data import images

            return images.source(path, name, size, mode, digest, cache)
        case "parquet":
            from trainserve.models.data import parquet

            return parquet.source(path, name, config.options, config.task, size, mode, digest, cache)


def _allowed(config: DatasetConfig, given: str, folder: bool) -> None:
    """Check the format before anything is fetched; the content of folders and archives is only known afterwards.

    Raises DataError for an unknown format, ConfigError for what the format does not support.
    """
    kind = config.format or format_of(given, folder)
    seen = config.format is not None or kind != "images"
    if seen or not (folder or config.options):
        _possible(config, kind)


def _possible(config: DatasetConfig, kind: Format) -> None:
    if kind != "parquet" and config.options:
        raise ConfigError(f"dataset.options: {', '.join(config.options)} is not allowed; format {kind} takes none")
    if kind == "images" and config.task == "regression":
        raise ConfigError("dataset.task: 'regression' is not allowed; a folder of images has classes")


@contextlib.contextmanager
def _as_users_know_them() -> Iterator[dict[str, str]]:
    """Inside, paths in errors are replaced by the user's names of them, as the yielded dictionary maps them."""
    names: dict[str, str] = {}
    try:
        yield names
    except DataError as error:
        text = str(error)
        for path, name in names.items():
            text = text.replace(path, name)
        raise DataError(text) from error


def _recoloured(source: Source, asked: Asked | None) -> Source:
    """The source with the channels of the mode `asked`; unchanged for None and auto, because arrays have no mode."""
    if asked in (None, "auto"):
        return source
    from trainserve.models.data import looks, pixels

    mode = looks.mode(looks.Looks(), asked)
    height, width, channels = source.shape
    if channels == pixels.channels(mode):
        return source
    if channels not in (1, 3):
        raise DataError(f"{source.file}: {channels} channels; dataset.mode: {asked} needs 1 or 3")

    def part(given: Part) -> Part:
        return Part(given.targets, lambda: (pixels.recoloured(block, mode) for block in given.blocks()))

    return replace(
        source,
        shape=(height, width, pixels.channels(mode)),
        train=part(source.train),
        test=None if source.test is None else part(source.test),
        digest=hashlib.sha256(f"{source.digest} {mode}".encode()).hexdigest(),
    )


def _resized(source: Source, size: Size | None) -> Source:
    """The source with images of `size`; for readers that do not resize while they decode."""
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
