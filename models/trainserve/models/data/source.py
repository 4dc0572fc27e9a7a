"""Samples that are yet to be decoded: what every reader of a format gives, whatever it read."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainserve.models.data.dataset import Images, Targets, Task

_BLOCK = 4 << 20
"""Bytes of images decoded at a time."""


@dataclass(frozen=True)
class Part:
    """Targets, and the images that belong to them: `blocks` decodes them in the targets' order, some at a time."""

    targets: Targets
    blocks: Callable[[], Iterator[Images]]


@dataclass(frozen=True)
class Source:
    """A data set as its format has it. `test` is None where it brings no test part of its own.

    `file` is what errors name. `digest` stands for the content and for how it is decoded: sources of one digest have
    the same images. `encoded`: decoding takes so long that the result is kept even when it is small. `content` is the
    `sha256:<hex>` of what was fetched or checked, where that was done. `notes`: lines that a person should read.
    """

    name: str
    file: str
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    labels: list[str]
    task: Task
    train: Part
    test: Part | None
    digest: str
    encoded: bool = False
    content: str | None = None
    notes: tuple[str, ...] = ()

    def bytes(self) -> int:
        """Of all images, decoded."""
        count = len(self.train.targets) + (len(self.test.targets) if self.test else 0)
        return count * image_bytes(self.shape, self.dtype)


def image_bytes(shape: tuple[int, int, int], dtype: np.dtype[Any]) -> int:
    """Of one image, decoded."""
    return int(np.prod(shape)) * dtype.itemsize


def block_length(shape: tuple[int, int, int], dtype: np.dtype[Any]) -> int:
    """How many images make a block."""
    return max(1, min(1024, _BLOCK // max(1, image_bytes(shape, dtype))))


def release(images: Images) -> None:
    """Let go of the pages of an array that is mapped from a file: they no longer count as this process's memory.

    They stay in the page cache, written or not, and come back when they are touched.
    """
    if isinstance(images, np.memmap):
        images._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]


def in_memory(targets: Targets, images: Images) -> Part:
    """A part whose images are one array already."""

    def blocks() -> Iterator[Images]:
        step = block_length(images.shape[1:], images.dtype)
        for start in range(0, len(images), step):
            yield images[start : start + step]

    return Part(targets, blocks)
