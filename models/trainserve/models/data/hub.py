"""A folder of Parquet files in the layouts of the Hugging Face Hub and others: which file belongs to which part.

Layouts: <part>*.parquet, data/<part>-*.parquet, <config>/<part>-*.parquet and <config>/<part>/*.parquet, the parts
named as in `parts`; if no file names a part, all are of the training part. Of several configs one must be named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from trainserve.models.data import digests
from trainserve.models.data.parts import WORDS, Part, part_of
from trainserve.models.errors import DataError

_DEFAULT = "default"
_BESIDE_PICTURES = {"metadata.parquet"}
"""Metadata that Hugging Face's imagefolder keeps beside pictures."""


@dataclass(frozen=True)
class Files:
    """Sorted files of each part of `config`. `strays`: files of no part; `others`: the other configs."""

    parts: dict[Part, list[Path]]
    config: str = ""
    strays: list[Path] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def holds_parquet(folder: Path) -> bool:
    """Whether the folder is a data set of Parquet files rather than of pictures."""
    return any(True for _ in _below(folder))


def find(folder: Path, wanted: str | None) -> Files:
    """The files of the config `wanted`, by default the only one. Raises DataError naming what is missing."""
    configs: dict[str, dict[Path, Part | None]] = {}
    for path in _below(folder):
        config, part = placed(path.relative_to(folder).as_posix())
        configs.setdefault(config, {})[path] = part
    config = _config(folder, configs.keys(), wanted)
    files = configs[config]
    others = sorted(configs.keys() - {config})
    if not any(files.values()):
        return Files({"train": [*files]}, config, [], others)
    parts: dict[Part, list[Path]] = {
        part: found for part in WORDS if (found := [path for path, belongs in files.items() if belongs == part])
    }
    if "train" not in parts:
        raise DataError(
            f"{folder}: train*.parquet is missing; must hold it, and optionally test*.parquet or validation*.parquet"
        )
    return Files(parts, config, [path for path, belongs in files.items() if belongs is None], others)


def placed(name: str) -> tuple[str, Part | None]:
    """The config ("" if none) and the part of a file, from its path below the folder, `name`."""
    *above, last = PurePosixPath(name).parts
    part = _part(PurePosixPath(last).stem)
    config = []
    for folder in above:
        named = part_of(folder.removeprefix("partial-"))  # the Hub's partial conversion of a large part
        if named and part is None:
            part = named
        elif not named and folder != "data":
            config.append(folder)
    return "/".join(config), part


def _part(stem: str) -> Part | None:
    """The part named by a word or the beginning of `stem`: `train-00000-of-00001-abcdef`, `mnist_test`, `train2`."""
    lower = stem.lower()
    for word in re.split(r"[^a-z]+", lower):
        if part := part_of(word):
            return part
    return next((part for part in WORDS if lower.startswith(WORDS[part])), None)


def _config(folder: Path, configs: Iterable[str], wanted: str | None) -> str:
    known = sorted(configs)
    if not known:
        raise DataError(f"{folder}: train*.parquet is missing; there is no .parquet file in it")
    if wanted is not None:
        if wanted not in known:
            raise DataError(f"{folder}: config {wanted!r} is missing; there are: {', '.join(filter(None, known))}")
        return wanted
    for only in ([known[0]] if len(known) == 1 else []), [_DEFAULT], [""]:
        if only and only[0] in known:
            return only[0]
    raise DataError(f"{folder}: {len(known)} configs: {', '.join(known)}; dataset.options.config must name one")


def _below(folder: Path) -> list[Path]:
    """Parquet files below `folder`, sorted, without hidden ones such as the .cache that `hf download` leaves."""
    return [
        path
        for path in digests.files(folder)
        if path.suffix.lower() == ".parquet"
        and path.name not in _BESIDE_PICTURES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
