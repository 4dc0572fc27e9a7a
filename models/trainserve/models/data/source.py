"""Samples that are yet to be decoded: the common result of the readers of all formats."""

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
    """Targets and their images: `blocks` decodes the images in the targets' order, a block at a time."""

    targets: Targets
    blocks: Callable[[], Iterator[Images]]


@dataclass(frozen=True)
class Source:
    """A data set before decoding. `test`: None if it has no test part.

    `file`: what errors name. `digest`: of the content and the way of decoding, so that equal digests mean equal images.
    `encoded`: decoding is slow, so that its result is cached even if small. `content`: `sha256:<hex>` of the file or
    folder, if it was fetched or verified. `notes`: lines for the user.
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
        """Bytes of all decoded images."""
        count = len(self.train.targets) + (len(self.test.targets) if self.test else 0)
        return count * image_bytes(self.shape, self.dtype)


def image_bytes(shape: tuple[int, int, int], dtype: np.dtype[Any]) -> int:
    """Bytes of one decoded image."""
    return int(np.prod(shape)) * dtype.itemsize


def block_length(shape: tuple[int, int, int], dtype: np.dtype[Any]) -> int:
    """Number of images in a block."""
    return max(1, min(1024, _BLOCK // max(1, image_bytes(shape, dtype))))


def release(images: Images) -> None:
    """Release the pages of a mapped array, so that they no longer count as this process's memory.

    They stay in the page cache, dirty or not, and are mapped again on access.
    """
    if isinstance(images, np.memmap):
        images._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]


def in_memory(targets: Targets, images: Images) -> Part:
    """A part from an array of images."""

    def blocks() -> Iterator[Images]:
        step = block_length(images.shape[1:], images.dtype)
        for start in range(0, len(images), step):
            yield images[start : start + step]

    return Part(targets, blocks)
