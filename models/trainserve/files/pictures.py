"""Decoding of picture files to upright images with 8 bits per channel, for training and for requests.

Training pods and the command line both decode with this module, so that a file gives the same pixels in both. It needs
Pillow, and is imported by those two only.

Values are scaled by their range: 16 bits as 0..65535, floats as 0..1 or 0..255. Palettes and CMYK become RGB;
transparent pixels are blended with white; of several frames, the first is used.
"""

from __future__ import annotations

import contextlib
import importlib
import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Literal

from PIL import Image, ImageOps

from trainserve.api import limits

_PLUGINS = ("Png", "Jpeg", "WebP", "Gif", "Bmp", "Tiff", "Ppm", "Avif")
"""Pillow's plugins, each in its own module; by default, Pillow imports all forty for the first WebP."""
for _name in _PLUGINS:
    with contextlib.suppress(ImportError):  # Avif: Pillow before 11.3
        importlib.import_module(f"PIL.{_name}ImagePlugin")
FORMATS = [name for name in map(str.upper, _PLUGINS) if name in Image.OPEN]
"""Supported formats, by Pillow's names; they are detected by content, never by file name."""
SUFFIXES = (
    ".avif", ".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
"""File name suffixes of the supported formats."""
UNREADABLE = (".heic", ".heif", ".jp2", ".jxl")
"""File name suffixes of picture formats that Pillow alone cannot read."""

Mode = Literal["L", "RGB"]
Depth = Literal["", "16-bit", "32-bit", "float"]
_GREY = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_COLOUR = ("P", "PA", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV")
_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_ORIENTATION, _BITS, _PHOTOMETRIC = 0x0112, 258, 262
_WHITE_IS_ZERO = 0
_STARTS = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"RIFF": "WebP", b"BM": "BMP"}
_WORDS = {"L": "greyscale"}


class BadPicture(ValueError):
    """A picture cannot be used; the message says why, and the caller prefixes the file's name."""


@dataclass(frozen=True)
class Look:
    """Properties of a picture from its header. `deep` is the depth of its values if not 8 bits per channel."""

    grey: bool
    deep: Depth = ""
    alpha: bool = False
    turned: bool = False
    frames: bool = False


@dataclass(frozen=True)
class Picture:
    """An upright image of mode L or RGB. `done` describes each conversion in a few words."""

    image: Image.Image
    done: tuple[str, ...] = ()


def is_named_picture(name: str) -> bool:
    """Return whether a file name has the suffix of a picture, supported or not."""
    return name.lower().endswith(SUFFIXES + UNREADABLE)


def look(file: IO[bytes]) -> Look:
    """Read a picture's header without decoding pixels. Raises BadPicture if it is not a picture that can be read."""
    with _open(file) as image, _damage():
        alpha, turned, frames = _has_alpha(image), _is_turned(image), _has_frames(image)
        return Look(image.mode in _GREY, _depth(image), alpha, turned, frames)


def decode(file: IO[bytes]) -> Picture:
    """Decode the first frame, upright, as L or RGB. Raises BadPicture."""
    with _open(file) as opened, _damage():
        done = ["took the first frame"] if _has_frames(opened) else []
        turned = _is_turned(opened)  # Pillow turns a TIFF upright on load, and drops its orientation
        opened.load()
        upright = opened
        if _is_turned(opened):
            turned, upright = True, ImageOps.exif_transpose(opened)
        image, scaled = _eight_bits(upright, opened)
        return Picture(image, (*done, *(["turned upright"] if turned else []), *scaled))


def fit(image: Image.Image, mode: Mode, size: tuple[int, int]) -> Picture:
    """Convert an image to `mode` and resize it to `size` (width, height): bilinear, with antialiasing if it shrinks."""
    done = []
    if image.mode != mode:
        done.append(f"converted {image.mode} to {_WORDS.get(mode, mode)}")
        image = image.convert(mode)
    if image.size != size:
        done.append(f"resized {image.width}x{image.height} to {size[0]}x{size[1]}")
        image = image.resize(size, Image.Resampling.BILINEAR)
    return Picture(image, tuple(done))


def _open(file: IO[bytes]) -> Image.Image:
    try:
        image = Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise BadPicture(str(error)) from None
    except Exception:  # damaged headers make Pillow raise nearly anything
        file.seek(0)
        raise BadPicture(
            f"not a picture that can be read ({', '.join(FORMATS)}): {_beginning(file.read(64))}"
        ) from None
    most = limits.current().picture
    if image.width * image.height > most:
        raise BadPicture(
            f"{image.width}x{image.height} pixels; at most {most} in all are decoded (the chart's limits.picture)"
        )
    if image.mode not in _GREY + _COLOUR:
        raise BadPicture(f"its mode is {image.mode}; must be grey, RGB, a palette or CMYK")
    return image


def _beginning(content: bytes) -> str:
    if not content:
        return "it is empty"
    if content.startswith(b"version https://git-lfs"):
        return "it is a git-lfs pointer, which `git lfs pull` replaces by the picture"
    if content.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        return "it is a web page"
    if kind := next((kind for start, kind in _STARTS.items() if content.startswith(start)), None):
        return f"it begins as a {kind} does, and is truncated or damaged"
    if content[4:8] == b"ftyp":
        return f"it is {content[8:12].decode('ascii', 'replace')}, which must be converted to one of these"
    return f"it begins with {content[:4].hex()}"


@contextlib.contextmanager
def _damage() -> Iterator[None]:
    try:
        yield
    except BadPicture:
        raise
    except Image.DecompressionBombError as error:
        raise BadPicture(str(error)) from None
    except Exception as error:  # damaged bytes make the decoders raise nearly anything
        raise BadPicture(f"truncated or damaged: {str(error) or type(error).__name__}") from None


def _has_frames(image: Image.Image) -> bool:
    """Return whether the picture has several frames. A camera's JPEG with a preview as second image counts as one."""
    return image.format not in ("JPEG", "MPO") and bool(getattr(image, "is_animated", False))


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in _ALPHA or "transparency" in image.info


def _depth(image: Image.Image) -> Depth:
    """Return the depth of the values. What Pillow opens with mode I has 16 bits in a PNG or PPM, 32 in a TIFF."""
    if image.mode == "F":
        return "float"
    if not image.mode.startswith("I"):
        return ""
    return "16-bit" if image.mode != "I" or image.format in ("PNG", "PPM") else "32-bit"


def _is_turned(image: Image.Image) -> bool:
    """Return whether EXIF or XMP marks the picture as rotated or mirrored; damaged metadata are ignored."""
    if image.format == "PNG" and image._im is None and not {"exif", "Raw profile type exif"} & image.info.keys():
        return False  # Pillow would decode the whole picture, to search for EXIF after the pixels
    with contextlib.suppress(Exception):
        return image.getexif().get(_ORIENTATION, 1) in range(2, 9)
    return False


def _eight_bits(image: Image.Image, opened: Image.Image) -> tuple[Image.Image, list[str]]:
    """Convert an image to mode L or RGB; return it and descriptions of the conversions. Raises BadPicture.

    `opened` is the image as opened, with the format, which a transposed image lacks.
    """
    mode = image.mode
    if mode == "F":
        return _of_floats(image)
    if mode.startswith("I"):
        return _of_integers(image, opened)
    if _has_alpha(image):
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(rgba)
        done = ["laid on white where it is transparent"] if _range(rgba.getchannel("A"))[0] < 255 else []
        return white.convert("L" if mode in _GREY else "RGB"), done
    if mode in ("L", "RGB"):
        return image, []
    return (image.convert("L"), []) if mode in _GREY else (image.convert("RGB"), [f"converted {mode} to RGB"])


def _range(image: Image.Image) -> tuple[float, float]:
    """Return the smallest and largest value of an image with one channel."""
    low, high = image.getextrema()
    assert isinstance(low, int | float) and isinstance(high, int | float)
    return low, high


def _of_integers(image: Image.Image, opened: Image.Image) -> tuple[Image.Image, list[str]]:
    wide = image.convert("I")
    if _depth(opened) == "32-bit":
        # The range of 32-bit values is unspecified, so it is inferred from the values.
        low, high = _range(wide)
        if low < 0 or high > 65535:
            raise BadPicture(f"32-bit values {low}..{high}; must be 0..255 or 0..65535")
        if high <= 255:
            return wide.convert("L"), ["took 32-bit values as 0..255"]
        return _scaled(wide, 255 / 65535), ["scaled 32-bit values of 0..65535 to 8 bits"]
    tags: Any = getattr(opened, "tag_v2", {})
    bits = 12 if (tags.get(_BITS) or (16,))[0] == 12 else 16
    grey = _scaled(wide, 255 / (2**bits - 1))
    # Pillow respects this tag for 8 bits only.
    return ImageOps.invert(grey) if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else grey, [f"scaled {bits} bits to 8"]


def _of_floats(image: Image.Image) -> tuple[Image.Image, list[str]]:
    values = array("f", image.tobytes())
    low, high = min(values), max(values)
    if not math.isfinite(sum(values)):
        raise BadPicture("holds floats that are not finite numbers")
    if low < 0 or high > 255:
        raise BadPicture(f"floats of {low:g}..{high:g}; must be 0..1 or 0..255")
    if high <= 1:
        return _scaled(image, 255), ["scaled floats of 0..1 to 8 bits"]
    return _scaled(image, 1), ["took floats of 0..255 as 8 bits"]


def _scaled(image: Image.Image, by: float) -> Image.Image:
    """Multiply values by `by` and convert to L, rounding, since the conversion truncates."""
    return image.point(lambda value: value * by + 0.5).convert("L")
