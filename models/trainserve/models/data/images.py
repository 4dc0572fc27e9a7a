"""A folder of images as ImageNet has it: train/<class>/*.png|jpg and optionally test/<class>/ or val/<class>/."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from trainserve.models import device
from trainserve.models.data.ahead import ahead
from trainserve.models.data.dataset import Images
from trainserve.models.data.pixels import SUFFIXES, Form, Size, decode, form
from trainserve.models.data.source import Part, Source, block_length
from trainserve.models.errors import DataError

TEST_FOLDERS = ("test", "val")
_ENDINGS = tuple(SUFFIXES)


def source(root: Path, name: str, size: Size | None, digest: str) -> Source:
    """The classes are the names of train's folders, in their order. Raises DataError naming the file or folder."""
    root = _below(root)
    labels = [folder.name for folder in _entries(root / "train") if _is_folder(folder)]
    if not labels:
        raise DataError(f"{root / 'train'}: 0 class folders; must hold <class>/*.png|jpg")
    test = next((root / part for part in TEST_FOLDERS if (root / part).is_dir()), None)
    train_files = _files(root / "train", labels)
    test_files = _files(test, labels) if test else None
    first = train_files[0][0]
    expected = form(_content(first), first, size)
    decoded = hashlib.sha256(f"images 1 {size} {digest}".encode()).hexdigest()
    return Source(
        name=name,
        file=str(root),
        shape=expected.shape,
        dtype=np.dtype(np.uint8),
        labels=labels,
        task="classification",
        train=_part(train_files, expected),
        test=_part(test_files, expected) if test_files is not None else None,
        digest=decoded,
        encoded=True,
    )


def _below(root: Path) -> Path:
    """Archives often hold one folder that holds all."""
    if (root / "train").is_dir():
        return root
    inner = [entry for entry in _entries(root) if (entry / "train").is_dir()]
    if len(inner) != 1:
        raise DataError(f"{root}: train/ is missing; must hold train/<class>/*.png|jpg")
    return inner[0]


def _files(folder: Path, labels: list[str]) -> list[tuple[str, int]]:
    numbers = {label: number for number, label in enumerate(labels)}
    files = []
    for entry in _entries(folder):
        if entry.name not in numbers or not _is_folder(entry):
            raise DataError(f"{entry}: not a class; must be one of the folders of train/: {', '.join(labels[:10])}")
        for name in _names(entry):
            if not name.lower().endswith(_ENDINGS):
                raise DataError(f"{entry / name}: not an image by its name; must end in {', '.join(SUFFIXES)}")
            files.append((f"{entry}/{name}", numbers[entry.name]))
    if not files:
        raise DataError(f"{folder}: 0 samples; at least 1 is needed")
    return files


def _entries(folder: Path) -> list[Path]:
    return [folder / name for name in _names(folder)]


def _names(folder: Path) -> list[str]:
    """Sorted, without hidden ones."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}") from None


def _is_folder(path: Path) -> bool:
    if not path.is_dir():
        raise DataError(f"{path}: not a folder; train/ holds a folder for each class")
    return True


def _part(files: list[tuple[str, int]], expected: Form) -> Part:
    targets = np.array([number for _, number in files], dtype=np.int64)
    step = min(64, block_length(expected.shape, np.dtype(np.uint8)))

    def block(start: int) -> Images:
        chosen = files[start : start + step]
        return np.stack([decode(_content(file), file, expected) for file, _ in chosen])

    def blocks() -> Iterator[Images]:
        return ahead(block, range(0, len(files), step), device.threads(), "decode")

    return Part(targets, blocks)


def _content(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from None
