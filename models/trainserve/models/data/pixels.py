"""Decode a picture to uint8, (H, W, 1) if the data set is grey, else (H, W, 3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from trainserve.files import pictures
from trainserve.files.pictures import BadPicture, Mode, Picture
from trainserve.models.data.dataset import Images
from trainserve.models.errors import DataError

_CHANNELS: dict[Mode, int] = {"L": 1, "RGB": 3}
_LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in ITU-R 601-2, as in Pillow."""

Size = tuple[int, int]
"""(H, W)."""


@dataclass(frozen=True)
class Form:
    """The form of all images of a data set. `resize`: resized to `size`; else each must have the size of `example`."""

    mode: Mode
    size: Size
    resize: bool
    example: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return (*self.size, _CHANNELS[self.mode])


def form(content: bytes, where: str, size: Size | None, mode: Mode) -> Form:
    """The form, with the first image's size unless `size` is given. Raises DataError naming `where` the image is."""
    if size is not None:
        return Form(mode, size, True, where)
    image = _decoded(content, where).image
    return Form(mode, (image.height, image.width), False, where)


def decode(content: bytes, where: str, expected: Form) -> Images:
    """Decode an image to (H, W, C) as `expected`. Raises DataError naming `where` it is and the problem."""
    image = _decoded(content, where).image
    if not expected.resize and (image.height, image.width) != expected.size:
        raise DataError(
            f"{where}: {image.height}x{image.width} pixels, and {expected.example} has "
            f"{expected.size[0]}x{expected.size[1]}; must be equal, or set dataset.size"
        )
    fitted = pictures.fit(image, expected.mode, expected.size[::-1]).image
    return np.asarray(fitted).reshape(expected.shape)


def resized(images: Images, size: Size) -> Images:
    """Resize a block (N, H, W, C) channel by channel (bilinear, antialiased when it shrinks)."""

    def channels(image: Images) -> Iterator[Images]:
        for channel in range(image.shape[-1]):
            picture = Image.fromarray(np.ascontiguousarray(image[..., channel]))
            yield np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR))

    return np.stack([np.stack([*channels(image)], axis=-1) for image in images])


def recoloured(images: Images, mode: Mode) -> Images:
    """Convert a block of 1 or 3 channels to the channels of `mode`."""
    if images.shape[-1] == _CHANNELS[mode]:
        return images
    if mode == "RGB":
        return np.repeat(images, 3, axis=-1)
    grey = (images @ _LUMA)[..., None]
    return np.asarray(np.rint(grey) if images.dtype == np.uint8 else grey, images.dtype)


def channels(mode: Mode) -> int:
    """Number of channels of `mode`."""
    return _CHANNELS[mode]


def _decoded(content: bytes, where: str) -> Picture:
    try:
        return pictures.decode(BytesIO(content))
    except BadPicture as error:
        raise DataError(f"{where}: {error}") from None
