"""Layout of a folder of pictures: class folders in train/ (with test/, validation/ beside it), or directly in the root.

Part names are those of `parts`, in any case. Hidden files and operating systems' leftovers are ignored.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from trainserve.models.data.parts import Part, part_of, preference
from trainserve.models.errors import DataError

_LEFT_BEHIND = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", "__pycache__"}
WANTED = "must hold train/<class>/*.png|jpg|..., or <class>/*.png|jpg|... alone"
"""The layouts that are allowed, for errors."""


@dataclass(frozen=True)
class Layout:
    """`classes`: class folders of the training part; in a `flat` layout those without pictures are not classes.

    `parts`: folders of the test and validation part; `strays`: other folders beside them, which are not read.
    """

    root: Path
    train: Path
    classes: list[str]
    flat: bool
    parts: dict[Part, Path] = field(default_factory=dict)
    strays: tuple[Path, ...] = ()


def find(root: Path) -> Layout:
    """Find the layout below `root`, also in a single nested folder, as in many archives. Raises DataError."""
    here = root
    while True:
        found = folders(here)
        if train := _parts(here, found).get("train"):
            return _divided(here, train, found)
        below = [name for name in found if _parts(here / name, folders(here / name)).get("train")]
        if len(below) == 1:
            here = here / below[0]
        elif len(found) == 1 and not part_of(found[0]) and folders(here / found[0]):
            here = here / found[0]
        else:
            return _flat(here, found)


def folders(folder: Path) -> list[str]:
    """Sorted names of the folders in `folder`."""
    return [name for name, is_folder in entries(folder) if is_folder]


def entries(folder: Path) -> list[tuple[str, bool]]:
    """Sorted names in `folder`, each with whether it is a folder. Raises DataError if it cannot be read."""
    try:
        with os.scandir(folder) as found:
            return sorted(
                (entry.name, entry.is_dir())
                for entry in found
                if not entry.name.startswith(".") and entry.name not in _LEFT_BEHIND
            )
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}") from None


def _parts(folder: Path, found: list[str]) -> dict[Part, str]:
    """The folders that are parts: named like one and holding folders, because a class may be called `train`, too."""
    parts: dict[Part, str] = {}
    for name in sorted(filter(part_of, found), key=preference):
        if (part := part_of(name)) and part not in parts and folders(folder / name):
            parts[part] = name
    return parts


def _divided(root: Path, train: str, found: list[str]) -> Layout:
    parts = _parts(root, found)
    for name in sorted(filter(part_of, found), key=preference):
        # Without class folders it holds unlabelled pictures or nothing: images.py reports which.
        if (part := part_of(name)) and part != "train":
            parts.setdefault(part, name)
    strays = [root / name for name in found if name not in parts.values()]
    held_out: dict[Part, Path] = {part: root / name for part, name in parts.items() if part != "train"}
    return Layout(root, root / train, folders(root / train), False, held_out, tuple(strays))


def _flat(root: Path, found: list[str]) -> Layout:
    if not found:
        raise DataError(f"{root}: train/ is missing; {WANTED}")
    if all(map(part_of, found)):
        named = sorted(found, key=preference)[0]
        raise DataError(
            f"{root / named}: 0 class folders; must hold <class>/*.png|jpg|..."
            if part_of(named) == "train"
            else f"{root}: train/ is missing; {WANTED}"
        )
    parts = {
        part: name for part, name in _parts(root, found).items() if set(folders(root / name)) <= set(found) - {name}
    }
    classes = [name for name in found if name not in parts.values()]
    return Layout(root, root, classes, True, {part: root / name for part, name in parts.items()})
