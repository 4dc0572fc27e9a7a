"""A folder of pictures with one folder per class; `layout` finds the class folders.

As in torchvision's ImageFolder and Keras's image_dataset_from_directory, the classes are the sorted folder names, and
the pictures of a class are in its folder and below. Files that are not pictures by content or name are skipped with a
note; a file named like a picture that cannot be read is an error, as it is there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainserve.files import pictures
from trainserve.files.pictures import BadPicture, Look
from trainserve.models import device
from trainserve.models.data import layout, looks, parts
from trainserve.models.data.ahead import ahead
from trainserve.models.data.cache import Cache
from trainserve.models.data.dataset import Images
from trainserve.models.data.looks import Asked, Looks
from trainserve.models.data.pixels import Form, Size, decode, form
from trainserve.models.data.source import Part, Source, block_length
from trainserve.models.errors import DataError

_SHOWN = 3
"""Files named in one line."""
_AT_A_TIME = 64
"""Files that a thread inspects at a time."""


@dataclass(frozen=True)
class Pictures:
    """Pictures of a part: names relative to `folder`, each with its class number and the index of its Look."""

    folder: str
    files: list[tuple[str, int, int]]


@dataclass(frozen=True)
class Found:
    """Labels and pictures found below `root`, with notes for the user."""

    root: str
    labels: list[str]
    looks: list[Look]
    train: Pictures
    test: Pictures | None
    notes: list[str]

    def counted(self) -> Looks:
        """The number of pictures of each Look."""
        counts = Looks()
        for part in (self.train, self.test):
            for _, _, look in part.files if part else ():
                counts[self.looks[look]] += 1
        return counts


def source(root: Path, name: str, size: Size | None, asked: Asked, digest: str, cache: Cache) -> Source:
    """The pictures below `root`, whose listing is cached by `digest`. Raises DataError naming the file or folder."""
    found = _found(root, digest, cache)
    counted = found.counted()
    mode = looks.mode(counted, asked)
    below = root / found.root
    first = _paths(below, found.train)[0][0]
    expected = form(_content(first), first, size, mode)
    decoded = hashlib.sha256(f"images 2 {size} {mode} {digest}".encode()).hexdigest()
    return Source(
        name=name,
        file=str(below),
        shape=expected.shape,
        dtype=np.dtype(np.uint8),
        labels=found.labels,
        task="classification",
        train=_part(_paths(below, found.train), expected),
        test=_part(_paths(below, found.test), expected) if found.test else None,
        digest=decoded,
        encoded=True,
        notes=(*found.notes, *looks.told(counted, mode)),
    )


def _found(root: Path, digest: str, cache: Cache) -> Found:
    """Inspect every file, cached by `digest`, because this takes minutes for a large folder."""

    def make(room: Path) -> None:
        found = asdict(_look(root, cache))
        (room / "found.json").write_text(json.dumps(found))

    key = hashlib.sha256(f"found 1 {digest}".encode()).hexdigest()
    known = json.loads((cache.get(f"found-{key}", make) / "found.json").read_text())
    parts = {part: _pictures(known[part]) for part in ("train", "test")}
    assert parts["train"] is not None
    known_looks = [Look(**look) for look in known["looks"]]
    return Found(known["root"], known["labels"], known_looks, parts["train"], parts["test"], known["notes"])


def _pictures(known: dict[str, Any] | None) -> Pictures | None:
    return None if known is None else Pictures(known["folder"], [tuple(file) for file in known["files"]])


def _look(root: Path, cache: Cache) -> Found:
    here = layout.find(root)
    looking = _Looking(here.root, cache)
    train = looking.part(here.train, here.classes)
    labels = here.classes
    if here.flat:
        labels = [label for number, label in enumerate(labels) if any(file[1] == number for file in train)]
        numbers = {here.classes.index(label): number for number, label in enumerate(labels)}
        train = [(name, numbers[number], look) for name, number, look in train]
        looking.passed += [here.train / label for label in here.classes if label not in labels]
    if not train and here.flat:
        raise DataError(f"{root}: train/ is missing; {layout.WANTED}")
    if not train:
        raise DataError(f"{here.train}: 0 pictures in {len(here.classes)} class folders; at least 1 is needed")
    held_out = {}
    for part, folder in here.parts.items():
        held_out[part] = _labelled(folder, here, labels, looking)
    looking.passed += here.strays
    notes, test = _chosen(here, held_out)
    if here.flat:
        where = "" if here.root == root else f" of {here.root.relative_to(root).as_posix()}/"
        notes.insert(0, f"there is no train/: the {len(labels)} folders{where} are taken as the classes")
    notes += looking.told()
    train_folder = here.train.relative_to(here.root).as_posix()
    return Found(
        here.root.relative_to(root).as_posix(),
        labels,
        list(looking.looks),
        Pictures(train_folder, train),
        test,
        notes,
    )


def _labelled(folder: Path, here: layout.Layout, labels: list[str], looking: _Looking) -> Pictures | None:
    """The pictures of a held-out part; None if they have no class folders, as in competitions."""
    classes = layout.folders(folder)
    if strange := [each for each in classes if each not in labels]:
        known = ", ".join(labels[:10])
        raise DataError(
            f"{folder / strange[0]}: not a class; must be one of the folders of {here.train.name}/: {known}"
        )
    numbers = {label: number for number, label in enumerate(labels)}
    files = [(name, numbers[classes[number]], look) for name, number, look in looking.part(folder, classes)]
    if not classes and any(not is_folder for _, is_folder in layout.entries(folder)):
        return None
    if not files:
        raise DataError(f"{folder}: 0 samples; at least 1 is needed")
    return Pictures(folder.relative_to(here.root).as_posix(), files)


def _chosen(here: layout.Layout, held_out: dict[parts.Part, Pictures | None]) -> tuple[list[str], Pictures | None]:
    notes = [
        f"{here.parts[part].name}/ has no class folders, and is not used"
        for part, found in held_out.items()
        if found is None
    ]
    test, validation = held_out.get("test"), held_out.get("validation")
    counts = [(f"{part.folder}/", len(part.files)) if part else None for part in (test, validation)]
    return [*parts.held_out(*counts), *notes], test or validation


class _Looking:
    """Inspects files: which are pictures, what they are like, and which are not."""

    def __init__(self, root: Path, cache: Cache) -> None:
        self.root, self._cache = root, cache
        self.looks: dict[Look, int] = {}
        self.passed: list[Path] = []

    def part(self, folder: Path, classes: list[str]) -> list[tuple[str, int, int]]:
        """The pictures in the class folders of a part. Raises DataError naming the first that cannot be read."""
        self.passed += [folder / name for name, is_folder in layout.entries(folder) if not is_folder]
        names = [(name, number) for number, label in enumerate(classes) for name in _below(folder, label)]
        blocks = [names[start : start + _AT_A_TIME] for start in range(0, len(names), _AT_A_TIME)]
        found: list[tuple[str, int, int]] = []
        broken: list[str] = []

        def looked(block: list[tuple[str, int]]) -> list[Look | str | None]:
            return [_look_at(folder / name) for name, _ in block]

        with self._cache.watch.task(f"looking at {folder.name}", len(names), "files") as moved:
            seen = ahead(looked, blocks, device.threads(), "look")
            for block, results in zip(blocks, seen, strict=True):
                for (name, number), result in zip(block, results, strict=True):
                    if isinstance(result, Look):
                        found.append((name, number, self.looks.setdefault(result, len(self.looks))))
                    elif result is None:
                        self.passed.append(folder / name)
                    else:
                        broken.append(result)
                moved(len(block))
        if broken:
            more = f"; {len(broken) - 1} more cannot be read either" if len(broken) > 1 else ""
            raise DataError(broken[0] + more)
        return found

    def told(self) -> list[str]:
        """A note about skipped files."""
        if not self.passed:
            return []
        names = [path.relative_to(self.root).as_posix() for path in self.passed]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        what = "1 entry that is not a picture" if len(names) == 1 else f"{len(names)} entries that are not pictures"
        return [f"skipped {what} of a class: {', '.join(names[:_SHOWN])}{more}"]


def _below(folder: Path, name: str) -> Iterator[str]:
    """Sorted paths, relative to `folder`, of the files in folder/name and below."""
    for each, is_folder in layout.entries(folder / name):
        if is_folder:
            yield from _below(folder, f"{name}/{each}")
        else:
            yield f"{name}/{each}"


def _look_at(path: Path) -> Look | str | None:
    """The Look of a picture, the error of a file only named like one, or None for any other file."""
    try:
        with path.open("rb") as file:
            return pictures.look(file)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    except BadPicture as error:
        return f"{path}: {error}" if pictures.is_named_picture(path.name) else None


def _paths(root: Path, part: Pictures) -> list[tuple[str, int]]:
    return [(f"{root / part.folder}/{name}", number) for name, number, _ in part.files]


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
