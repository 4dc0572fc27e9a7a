"""Which array of an .npz file is what, by the names that people give them. Pure.

`x`, `x_train`, `train_images`, `trainX`, `data`, `images` are the images of the training part, `y`, `train_labels`,
`target` its labels; the words for the test and validation part (see `parts`) go before or behind. np.savez's own arr_0,
arr_1 ... are told apart by their shapes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from trainserve.models.data.parts import WORDS, Part

Shape = tuple[int, ...]
_SHORT: dict[Part, tuple[str, ...]] = {"train": ("trn", "tr"), "test": ("tst", "te"), "validation": ()}
_X = "x|images?|imgs?|pictures?|pixels|data|features|inputs?|samples"
_Y = "y|labels?|targets?|class(?:es)?"
_NAMES = {"classnames", "labelnames", "targetnames", "classlabels", "categories", "names"}
_PLAIN = {"x", "y", "x_test", "y_test"}


@dataclass(frozen=True)
class Roles:
    """Names of the arrays that are a part's images and its labels; `names` holds the classes'."""

    images: dict[Part, str] = field(default_factory=dict)
    labels: dict[Part, str] = field(default_factory=dict)
    names: str | None = None

    def read(self) -> set[str]:
        """Names of the arrays that matter."""
        return {*self.images.values(), *self.labels.values(), *filter(None, [self.names])}

    def told(self) -> list[str]:
        """What a person should know, where the names are not this project's own."""
        if self.read() <= _PLAIN:
            return []
        pairs = [f"{name} with {self.labels[part]}" for part, name in self.images.items() if part in self.labels]
        return [f"arrays {', '.join(pairs)}" + (f"; {self.names} names the classes" if self.names else "")]


def roles(shapes: Mapping[str, Shape]) -> Roles:
    """By names and shapes. Where several could be it, it is the one whose shape can be, then the most usual name."""
    images = _chosen(shapes, _X, lambda part, shape: len(shape) in (3, 4))
    labels = _chosen(
        shapes, _Y, lambda part, shape: len(shape) in (1, 2) and shape[:1] == shapes.get(images.get(part, ""), ())[:1]
    )
    if not images and not labels:
        return _positional(shapes)
    names = [name for name, shape in shapes.items() if _bare(name) in _NAMES and len(shape) == 1]
    return Roles(images, labels, names[0] if names else None)


def is_channels_first(shape: Shape) -> bool:
    """(N, C, H, W): 1, 3 or 4 channels before two longer axes, and no such number behind."""
    return len(shape) == 4 and shape[1] in (1, 3, 4) and min(shape[2:]) > 4


def _chosen(shapes: Mapping[str, Shape], words: str, fits: Callable[[Part, Shape], bool]) -> dict[Part, str]:
    candidates: dict[Part, list[str]] = {}
    for name in sorted(shapes, key=lambda name: (name not in _PLAIN, len(name), name)):
        if part := _part(_bare(name), words):
            candidates.setdefault(part, []).append(name)
    return {
        part: next((name for name in candidates[part] if fits(part, shapes[name])), candidates[part][0])
        for part in WORDS
        if part in candidates
    }


def _part(bare: str, words: str) -> Part | None:
    """The part whose images or labels (`words`) are called so; without a word for a part it is the training part."""
    for part, names in WORDS.items():
        named = "|".join((*names, *_SHORT[part]))
        if re.fullmatch(f"(?:{named})(?:{words})|(?:{words})(?:{named})", bare):
            return part
    return "train" if re.fullmatch(words, bare) else None


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _positional(shapes: Mapping[str, Shape]) -> Roles:
    """Of np.savez(path, x, y) and np.savez(path, x, y, x_test, y_test), in whichever order."""
    if not shapes or not all(re.fullmatch(r"arr_\d+", name) for name in shapes):
        return Roles()
    ordered = sorted(shapes, key=lambda name: int(name[4:]))
    images = [name for name in ordered if len(shapes[name]) in (3, 4)]
    labels = [name for name in ordered if len(shapes[name]) in (1, 2)]
    if len(images) != len(labels) or len(images) not in (1, 2):
        return Roles()
    parts: tuple[Part, Part] = ("train", "test")
    return Roles(dict(zip(parts, images, strict=False)), dict(zip(parts, labels, strict=False)))
