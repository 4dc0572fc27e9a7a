"""Samples as small pictures, where they are pictures."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 96
"""Pixels at most, either way."""
LIMIT = 8_000
"""Bytes of one picture at most; what does not fit is drawn more coarsely."""
_COLOURS = (1, 3, 4)
_QUALITIES = (85, 60, 30)


def pixels(sample: NDArray[Any]) -> NDArray[np.uint8] | None:
    """(H, W) or (H, W, 3) of a sample that is (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4 channels; else None.

    Bytes are taken as they are, anything else is stretched from its own least to its own largest value.
    """
    if sample.ndim == 3 and sample.shape[2] not in _COLOURS and sample.shape[0] in _COLOURS:
        sample = np.moveaxis(sample, 0, 2)
    if sample.ndim == 2:
        sample = sample[..., None]
    if sample.ndim != 3 or sample.shape[2] not in _COLOURS or min(sample.shape[:2]) < 2:
        return None
    colours: NDArray[Any] = sample[..., 0] if sample.shape[2] == 1 else sample[..., :3]
    return colours if colours.dtype == np.uint8 else _stretched(colours)


def _stretched(values: NDArray[Any]) -> NDArray[np.uint8]:
    known = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = known.min(), known.max()
    stretched: NDArray[np.uint8] = np.rint((known - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    return stretched


def address(picture: NDArray[np.uint8]) -> str:
    """A data: URL of what `pixels` gave."""
    from PIL import Image

    image = Image.fromarray(picture)
    image.thumbnail((SIDE, SIDE))
    content, kind = _encoded(image, "PNG", optimize=True), "png"
    for quality in _QUALITIES:
        if len(content) <= LIMIT:
            break
        content, kind = _encoded(image, "JPEG", quality=quality), "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _encoded(image: Any, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()
