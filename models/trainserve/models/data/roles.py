"""The role of each array of an .npz file, by its name. Pure.

`x`, `x_train`, `train_images`, `trainX`, `data`, `images` are the images of the training part, `y`, `train_labels`,
`target` its labels; words for the test and validation part (see `parts`) are a prefix or suffix. np.savez's own names
arr_0, arr_1 ... are told apart by shape.
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
    """Names of the arrays with each part's images and labels; `names`: the array of class names."""

    images: dict[Part, str] = field(default_factory=dict)
    labels: dict[Part, str] = field(default_factory=dict)
    names: str | None = None

    def read(self) -> set[str]:
        """Names of all arrays that are read."""
        return {*self.images.values(), *self.labels.values(), *filter(None, [self.names])}

    def told(self) -> list[str]:
        """A note on which arrays were taken, unless they have this project's own names."""
        if self.read() <= _PLAIN:
            return []
        pairs = [f"{name} with {self.labels[part]}" for part, name in self.images.items() if part in self.labels]
        return [f"arrays {', '.join(pairs)}" + (f"; {self.names} names the classes" if self.names else "")]


def roles(shapes: Mapping[str, Shape]) -> Roles:
    """Assign roles by name and shape. Of several candidates one with a fitting shape is taken, then a usual name."""
    images = _chosen(shapes, _X, lambda part, shape: len(shape) in (3, 4))
    labels = _chosen(
        shapes, _Y, lambda part, shape: len(shape) in (1, 2) and shape[:1] == shapes.get(images.get(part, ""), ())[:1]
    )
    if not images and not labels:
        return _positional(shapes)
    names = [name for name, shape in shapes.items() if _bare(name) in _NAMES and len(shape) == 1]
    return Roles(images, labels, names[0] if names else None)


def is_channels_first(shape: Shape) -> bool:
    """Whether a shape is unambiguously (N, C, H, W): C is 1, 3 or 4, and H and W are larger than 4."""
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
    """The part whose images or labels (`words`) the name `bare` means; without a part's word, the training part."""
    for part, names in WORDS.items():
        named = "|".join((*names, *_SHORT[part]))
        if re.fullmatch(f"(?:{named})(?:{words})|(?:{words})(?:{named})", bare):
            return part
    return "train" if re.fullmatch(words, bare) else None


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _positional(shapes: Mapping[str, Shape]) -> Roles:
    """Roles after np.savez(path, x, y) or np.savez(path, x, y, x_test, y_test), in any order."""
    if not shapes or not all(re.fullmatch(r"arr_\d+", name) for name in shapes):
        return Roles()
    ordered = sorted(shapes, key=lambda name: int(name[4:]))
    images = [name for name in ordered if len(shapes[name]) in (3, 4)]
    labels = [name for name in ordered if len(shapes[name]) in (1, 2)]
    if len(images) != len(labels) or len(images) not in (1, 2):
        return Roles()
    parts: tuple[Part, Part] = ("train", "test")
    return Roles(dict(zip(parts, images, strict=False)), dict(zip(parts, labels, strict=False)))
