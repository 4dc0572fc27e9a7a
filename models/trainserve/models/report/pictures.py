"""Samples as small pictures, if they are images."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 96
"""Most pixels of a picture's width and height."""
LIMIT = 8_000
"""Most bytes of a picture; larger ones get a lower JPEG quality."""
_COLOURS = (1, 3, 4)
_QUALITIES = (85, 60, 30)


def pixels(sample: NDArray[Any]) -> NDArray[np.uint8] | None:
    """Pixels (H, W) or (H, W, 3) of a sample (H, W), (H, W, C) or (C, H, W), C = 1, 3 or 4; None for other shapes.

    uint8 is unchanged, other types are scaled from their minimum..maximum to 0..255.
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
    """A data: URL of a picture from `pixels`."""
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
