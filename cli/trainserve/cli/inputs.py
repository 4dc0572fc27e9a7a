"""Files to arrays: images are made to fit what the model takes, arrays must fit already."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from trainserve.client import Array, BadInput, ModelInfo, TensorInfo

ARRAYS = {".npy", ".npz"}
IMAGES = {".png", ".jpg", ".jpeg"}
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


def load(path: Path, model: ModelInfo) -> Loaded:
    """The file as a batch for `model`. Raises BadInput naming the file."""
    kind = path.suffix.lower()
    try:
        if kind in IMAGES:
            return _image(path, model)
        if kind in ARRAYS:
            return _arrays(path, model)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from error
    except (ValueError, EOFError, SyntaxError, BadZipFile, zlib.error) as error:  # all that damaged files give
        raise BadInput(f"{path}: not a readable {kind[1:]} file: {error or type(error).__name__}") from error
    raise BadInput(f"{path}: {kind or 'no'} suffix; must be one of {', '.join(sorted(ARRAYS | IMAGES))}")


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


def _image(path: Path, model: ModelInfo) -> Loaded:
    from PIL import Image, ImageOps

    tensor = _only_input(model, "an image")
    layout = image_layout(tensor)
    if layout is None:
        raise BadInput(
            f"input {tensor.name} takes {tensor.dtype} {list(tensor.shape)}, no raw images; give a .npy file"
        )
    height, width, channels, last = layout
    try:
        with Image.open(path) as opened:
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


def _arrays(path: Path, model: ModelInfo) -> Loaded:
    loaded = np.load(path, allow_pickle=False)
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
