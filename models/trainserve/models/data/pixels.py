"""One encoded image, PNG or JPEG, to an array: (H, W, 1) where it is grey, else (H, W, 3), uint8."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from trainserve.models.data.dataset import Images
from trainserve.models.errors import DataError

SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_MODES = {"L": "L", "1": "L", "LA": "L", "RGB": "RGB", "P": "RGB", "PA": "RGB", "RGBA": "RGB", "CMYK": "RGB"}
"""Pillow's modes and what each is converted to; 16-bit ones are not among them, because their range is not known."""
_CHANNELS = {"L": 1, "RGB": 3}

Size = tuple[int, int]
"""(H, W)."""


@dataclass(frozen=True)
class Form:
    """What every image of a data set is: as `example`, the first of them, is. `resize`: whatever its own size is."""

    mode: str
    size: Size
    resize: bool
    example: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return (*self.size, _CHANNELS[self.mode])


def form(content: bytes, where: str, size: Size | None) -> Form:
    """Of the first image. Raises DataError naming `where` it is."""
    with _open(content, where) as image:
        return Form(_mode(image, where), size or (image.height, image.width), size is not None, where)


def decode(content: bytes, where: str, expected: Form) -> Images:
    """(H, W, C) as expected. Raises DataError naming `where` the image is and what is wrong with it."""
    with _open(content, where) as image:
        if (mode := _mode(image, where)) != expected.mode:
            raise DataError(
                f"{where}: its mode is {image.mode}, and {expected.example} is {expected.mode}; must be the same"
            )
        if not expected.resize and (image.height, image.width) != expected.size:
            raise DataError(
                f"{where}: {image.height}x{image.width} pixels, and {expected.example} has "
                f"{expected.size[0]}x{expected.size[1]}; must be equal, or dataset.size be given"
            )
        try:
            converted = image.convert(mode)
        except Exception as error:
            # Damaged bytes make the decoders raise nearly anything.
            raise DataError(f"{where}: truncated or damaged: {error or type(error).__name__}") from None
        if (converted.height, converted.width) != expected.size:
            converted = converted.resize(expected.size[::-1], Image.Resampling.BILINEAR)
        return np.asarray(converted).reshape(expected.shape)


def resized(images: Images, size: Size) -> Images:
    """A block (N, H, W, C), each channel of each image resized (bilinear, smoothed where it shrinks)."""

    def channels(image: Images) -> Iterator[Images]:
        for channel in range(image.shape[-1]):
            picture = Image.fromarray(np.ascontiguousarray(image[..., channel]))
            yield np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR))

    return np.stack([np.stack([*channels(image)], axis=-1) for image in images])


def _open(content: bytes, where: str) -> Image.Image:
    try:
        image = Image.open(BytesIO(content), formats=("PNG", "JPEG"))
    except Exception as error:
        if isinstance(error, Image.DecompressionBombError):
            raise DataError(f"{where}: {error}") from None
        raise DataError(f"{where}: not a PNG or JPEG image: begins with {content[:4].hex() or 'nothing'}") from None
    expected = SUFFIXES.get(PurePosixPath(where).suffix.lower())
    # Cameras' files of several pictures (MPO) are JPEGs, the first picture first.
    found = "JPEG" if image.format == "MPO" else image.format
    if expected not in (None, found):
        raise DataError(f"{where}: a {found} image; its name says {expected}")
    return image


def _mode(image: Image.Image, where: str) -> str:
    if image.mode not in _MODES:
        raise DataError(f"{where}: mode {image.mode} is not allowed; must be 8-bit: {', '.join(_MODES)}")
    return _MODES[image.mode]
