"""Loading of files as a model's inputs: images are converted to fit the model, arrays must fit already."""

from __future__ import annotations

import io
import os
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from trainserve.client import Array, BadInput, ModelInfo, TensorInfo

if TYPE_CHECKING:
    from trainserve.files.pictures import Mode

STDIN = "-"
ARRAYS = {".npy", ".npz"}
_STARTS = {b"\x93NUMPY": ".npy", b"PK": ".npz"}
_MODES: dict[int, Mode] = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class Loaded:
    """A file's rows for every input; `done` says how an image was converted, if it was."""

    inputs: dict[str, Array]
    done: str = ""

    def __len__(self) -> int:
        """Number of rows."""
        return len(next(iter(self.inputs.values())))


def expand(names: Iterable[str]) -> Iterator[str]:
    """Yield `names`, each folder replaced by the images in and below it, sorted, without hidden ones."""
    from trainserve.files.pictures import is_named_picture

    for name in names:
        if name == STDIN or not Path(name).is_dir():
            yield name
            continue
        found = []
        for folder, below, files in os.walk(name):
            below[:] = [each for each in below if not each.startswith(".")]
            images = (each for each in files if is_named_picture(each) and not each.startswith("."))
            found += [os.path.join(folder, each) for each in images]  # noqa: PTH118 keeps ./ as the user wrote it
        yield from sorted(found) or [name]


def load(name: str, model: ModelInfo) -> Loaded:
    """Load file `name` as a batch for `model`. Raises BadInput, which names the file.

    Arrays are recognised by their suffix, on standard input (`-`) by their first bytes.
    """
    path = Path(name)
    kind = path.suffix.lower()
    try:
        if name == STDIN:
            content = sys.stdin.buffer.read()
            kind = next((suffix for start, suffix in _STARTS.items() if content.startswith(start)), "")
            file: Any = io.BytesIO(content)
            return _arrays(file, model) if kind else _image(file, model, name)
        if path.is_dir():
            raise BadInput("the folder has no images")
        if kind in ARRAYS:
            return _arrays(path, model)
        with path.open("rb") as file:
            return _image(file, model, name)
    except BadInput as error:
        raise BadInput(f"{name}: {error}") from None
    except OSError as error:
        raise BadInput(f"{name}: {error.strerror or error}") from error
    except (ValueError, EOFError, SyntaxError, BadZipFile, zlib.error) as error:  # raised for damaged files
        raise BadInput(f"{name}: not a readable {kind[1:]} file: {str(error) or type(error).__name__}") from error


def image_layout(tensor: TensorInfo) -> tuple[int, int, int, bool] | None:
    """(height, width, channels, channels last) of an input of raw images, with -1 for any size; None of others."""
    if tensor.dtype != np.uint8 or len(tensor.shape) != 4:
        return None
    _, *axes = tensor.shape
    if axes[2] in _MODES:
        return axes[0], axes[1], axes[2], True
    if axes[0] in _MODES:
        return axes[1], axes[2], axes[0], False
    return None


def _image(file: IO[bytes], model: ModelInfo, name: str) -> Loaded:
    """Decode an image as training does (trainserve.files.pictures), then convert it to the model's mode and size."""
    from trainserve.files import pictures

    tensor = _only_input(model, "an image")
    layout = image_layout(tensor)
    if layout is None:
        raise BadInput(f"input {tensor.name} takes {tensor.dtype} {list(tensor.shape)}, not images; give a .npy file")
    height, width, channels, last = layout
    try:
        decoded = pictures.decode(file)
    except pictures.BadPicture as error:
        if pictures.is_named_picture(name):
            raise BadInput(str(error)) from None
        raise BadInput(f"neither an image nor an array ({', '.join(sorted(ARRAYS))}): {error}") from None
    size = decoded.image.size
    target = (width if width > 0 else size[0], height if height > 0 else size[1])
    fitted = pictures.fit(decoded.image, _MODES[channels], target)
    array = np.asarray(fitted.image, np.uint8).reshape(1, target[1], target[0], channels)
    done = ", ".join((*decoded.done, *fitted.done))
    return Loaded({tensor.name: array if last else array.transpose(0, 3, 1, 2)}, done)


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
                raise BadInput(f"no array named {', '.join(missing)}, which the model takes; the file has {held}")
            found = {tensor.name: loaded[tensor.name] for tensor in model.inputs}
    batches = {}
    for tensor in model.inputs:
        array = tensor.fitted(found[tensor.name])
        # One sample may come without its batch axis: its rank shows that.
        batches[tensor.name] = array[None] if array.ndim == len(tensor.shape) - 1 else array
        tensor.check(batches[tensor.name])
    rows = {len(array) for array in batches.values()}
    if (len(rows) > 1 and model.max_batch) or 0 in rows:
        raise BadInput(f"the arrays have {' and '.join(map(str, sorted(rows)))} rows; must be the same, at least 1")
    return Loaded(batches)


def _only_input(model: ModelInfo, what: str) -> TensorInfo:
    if len(model.inputs) != 1:
        names = ", ".join(tensor.name for tensor in model.inputs)
        raise BadInput(f"model {model.name} takes {len(model.inputs)} inputs ({names}), not {what}; give a .npz file")
    return model.inputs[0]
