"""Names of files to arrays: images are made to fit what the model takes, arrays must fit already."""

from __future__ import annotations

import io
import os
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from trainserve.client import Array, BadInput, ModelInfo, TensorInfo

STDIN = "-"
ARRAYS = {".npy", ".npz"}
IMAGES = {".bmp", ".gif", ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp"}
_STARTS = {b"\x93NUMPY": ".npy", b"PK": ".npz"}
_MODES = {1: "L", 3: "RGB"}
_WORDS = {"L": "greyscale"}


@dataclass(frozen=True)
class Loaded:
    """A file's rows for every input, and what was done to an image to get there."""

    inputs: dict[str, Array]
    done: str = ""

    def __len__(self) -> int:
        """Rows."""
        return len(next(iter(self.inputs.values())))


def expand(names: Iterable[str]) -> Iterator[str]:
    """Files as they are, folders as the images in and below them, sorted, without what begins with a dot."""
    for name in names:
        if name == STDIN or not Path(name).is_dir():
            yield name
            continue
        found = []
        for folder, below, files in os.walk(name):
            below[:] = [each for each in below if not each.startswith(".")]
            images = (each for each in files if Path(each).suffix.lower() in IMAGES and not each.startswith("."))
            found += [os.path.join(folder, each) for each in images]  # noqa: PTH118 keeps ./ as the user wrote it
        yield from sorted(found) or [name]


def load(name: str, model: ModelInfo) -> Loaded:
    """The file as a batch for `model`; `-` is standard input, told by its first bytes. Raises BadInput naming it."""
    path = Path(name)
    kind = path.suffix.lower()
    try:
        if name == STDIN:
            content = sys.stdin.buffer.read()
            kind = next((suffix for start, suffix in _STARTS.items() if content.startswith(start)), ".image")
            file: Any = io.BytesIO(content)
        elif path.is_dir():
            raise BadInput(f"no images in this folder ({', '.join(sorted(IMAGES))})")
        elif kind not in IMAGES | ARRAYS and path.exists():
            raise BadInput(f"{kind or 'no'} suffix; must be one of {', '.join(sorted(ARRAYS | IMAGES))}")
        else:
            file = path
        return _arrays(file, model) if kind in ARRAYS else _image(file, model)
    except BadInput as error:
        raise BadInput(f"{name}: {error}") from None
    except OSError as error:
        words = "neither an image nor an array" if name == STDIN else error.strerror or error
        raise BadInput(f"{name}: {words}") from error
    except (ValueError, EOFError, SyntaxError, BadZipFile, zlib.error) as error:  # all that damaged files give
        raise BadInput(f"{name}: not a readable {kind[1:]} file: {error or type(error).__name__}") from error


def image_layout(tensor: TensorInfo) -> tuple[int, int, int, bool] | None:
    """(height, width, channels, channels last) of an input that takes raw images, -1 for any size; else None."""
    if tensor.dtype != np.uint8 or len(tensor.shape) != 4:
        return None
    _, *axes = tensor.shape
    if axes[2] in _MODES:
        return axes[0], axes[1], axes[2], True
    if axes[0] in _MODES:
        return axes[1], axes[2], axes[0], False
    return None


def _image(file: Any, model: ModelInfo) -> Loaded:
    from PIL import Image, ImageOps

    tensor = _only_input(model, "an image")
    layout = image_layout(tensor)
    if layout is None:
        raise BadInput(
            f"input {tensor.name} takes {tensor.dtype} {list(tensor.shape)}, no raw images; give a .npy file"
        )
    height, width, channels, last = layout
    try:
        with Image.open(file) as opened:
            image: Any = ImageOps.exif_transpose(opened)
            mode, size = image.mode, image.size
            image = image.convert(_MODES[channels])
    except Image.DecompressionBombError as error:
        raise BadInput(f"refused: {error}") from error
    target = (width if width > 0 else size[0], height if height > 0 else size[1])
    done = []
    if mode != image.mode:
        done.append(f"converted {mode} to {_WORDS.get(image.mode, image.mode)}")
    if size != target:
        image = image.resize(target, Image.Resampling.BILINEAR)
        done.append(f"resized {size[0]}x{size[1]} to {target[0]}x{target[1]}")
    array = np.asarray(image, np.uint8).reshape(1, target[1], target[0], channels)
    return Loaded({tensor.name: array if last else array.transpose(0, 3, 1, 2)}, ", ".join(done))


def _arrays(file: Any, model: ModelInfo) -> Loaded:
    loaded = np.load(file, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        tensor = _only_input(model, "one array")
        found = {tensor.name: loaded}
    else:
        with loaded:
            missing = [tensor.name for tensor in model.inputs if tensor.name not in loaded]
            if missing:
                held = ", ".join(loaded.files) or "nothing"
                raise BadInput(f"no array named {', '.join(missing)}, which the model takes; the file holds {held}")
            found = {tensor.name: loaded[tensor.name] for tensor in model.inputs}
    batches = {}
    for tensor in model.inputs:
        array = found[tensor.name]
        # One sample without its batch axis is unmistakable.
        batches[tensor.name] = array[None] if array.ndim == len(tensor.shape) - 1 else array
        tensor.check(batches[tensor.name])
    rows = {len(array) for array in batches.values()}
    if len(rows) > 1 or 0 in rows:
        raise BadInput(f"the arrays hold {' and '.join(map(str, sorted(rows)))} rows; must be the same, at least 1")
    return Loaded(batches)


def _only_input(model: ModelInfo, what: str) -> TensorInfo:
    if len(model.inputs) != 1:
        names = ", ".join(tensor.name for tensor in model.inputs)
        raise BadInput(f"model {model.name} takes {len(model.inputs)} inputs ({names}), not {what}; give a .npz file")
    return model.inputs[0]
