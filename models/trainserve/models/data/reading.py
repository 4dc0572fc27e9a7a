"""Which reader a config's data set needs."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Literal

from trainserve.models.config import Dataset as DatasetConfig
from trainserve.models.data import arrays, digests, digits
from trainserve.models.data.cache import Cache
from trainserve.models.data.dataset import Dataset
from trainserve.models.data.source import Part, Source
from trainserve.models.data.watch import Watch
from trainserve.models.errors import DataError, UserError

Size = tuple[int, int]
"""(H, W)."""
Format = Literal["npz", "images", "parquet"]
_SUFFIXES: dict[str, Format] = {".npz": "npz", ".parquet": "parquet"}
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")


def load(config: DatasetConfig, seed: int, watch: Watch | None) -> Dataset:
    """See data.load."""
    cache = Cache(watch or Watch())
    size = None if config.size is None else (config.size[0], config.size[1])
    source = _file(config, size, cache) if config.name is None else _resized(_built_in(config, seed, cache), size)
    return arrays.dataset(source, config.split.test, seed, cache)


def format_of(name: str, folder: bool) -> Format:
    """By the suffix of a file's name; folders and archives are of images. Raises DataError."""
    if folder or name.lower().endswith(ARCHIVES):
        return "images"
    for suffix, kind in _SUFFIXES.items():
        if name.lower().endswith(suffix):
            return kind
    allowed = ", ".join([*_SUFFIXES, *ARCHIVES])
    raise DataError(f"{name}: unknown format; must end in {allowed}, be a folder, or dataset.format must say which")


def _built_in(config: DatasetConfig, seed: int, cache: Cache) -> Source:
    if config.name == "digits":
        return digits.source()
    if config.name == "fashion-mnist":
        from trainserve.models.data import fashion

        return fashion.source(cache)
    from trainserve.models.data import synthetic

    return synthetic.source(config.options, config.task, seed)


def _file(config: DatasetConfig, size: Size | None, cache: Cache) -> Source:
    assert config.path is not None
    path = Path(config.path)
    kind = config.format or format_of(config.path, path.is_dir())
    if kind != "parquet" and config.options:
        raise UserError(f"dataset.options: {', '.join(config.options)} is not allowed; format {kind} takes none")
    if kind == "images" and config.task == "regression":
        raise UserError("dataset.task: 'regression' is not allowed; a folder of images has classes")
    if not path.exists():
        raise DataError(f"{path}: No such file or directory")
    name, digest = path.name.split(".")[0], digests.fingerprint(path)
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
