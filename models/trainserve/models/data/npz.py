"""A `.npz` file: images `x` (N, H, W[, C]) uint8 or float, targets `y`, and optionally `x_test`, `y_test`.

Other usual names work, too (see `roles`). Labels are integers or strings, (N,) or (N, 1), or one-hot (N, K); the
targets of a regression are floats, (N,) or (N, K).
"""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from trainserve.api import limits
from trainserve.models.data import labels, parts
from trainserve.models.data.arrays import LARGE
from trainserve.models.data.cache import Cache
from trainserve.models.data.dataset import Images, Targets, Task
from trainserve.models.data.parts import Part as Name
from trainserve.models.data.roles import Roles, Shape, is_channels_first, roles
from trainserve.models.data.source import Part, Source, block_length, release
from trainserve.models.errors import DataError
from trainserve.store.arrays import TooLarge, check

_HELD_OUT: tuple[Name, Name] = ("test", "validation")
_USUAL = {"x": "x_train, train_images, images, data", "y": "y_train, train_labels, labels, target"}
Arrays = Mapping[str, NDArray[Any]]


def source(path: Path, name: str, task: Task, digest: str, cache: Cache) -> Source:
    """Check the file's arrays; large ones are unpacked into the cache, under `digest`.

    Raises DataError naming the file and the problem. Nothing is unpickled.
    """
    large = _bytes(path) > LARGE
    try:
        check(path, limits.current().bytes("dataset"), str(path))
    except TooLarge as error:
        raise DataError(str(error)) from None
    headers = _headers(path)
    found = roles({name: shape for name, (shape, _) in headers.items()})
    held = ", ".join(f"{each} {kind} {shape}" for each, (shape, kind) in sorted(headers.items())) or "none"
    _complete(path, found, held)
    for each in sorted(found.read()):
        if headers[each][1].hasobject:
            raise DataError(f"{path}: {each} holds Python objects, which are never unpickled; save numbers or text")
    arrays = _unpacked(path, found.read(), digest, cache) if large else _read(path, found.read())
    arrays, turned = _channels_last(found, arrays)
    test, notes = _held_out(found, arrays)
    chosen: list[Name] = ["train", *([test] if test else [])]
    targets, names, said = _targets(path, arrays, found, chosen, task)
    read = [
        _part(path, arrays[found.images[part]], found.images[part], values, found.labels[part])
        for part, values in zip(chosen, targets, strict=True)
    ]
    x = arrays[found.images["train"]]
    if test is not None:
        _same_kind(path, arrays, found.images["train"], found.images[test])
    height, width, channels = (*x.shape[1:], 1)[:3]
    identity = f"{found} {turned}"
    return Source(
        name=name,
        file=str(path),
        shape=(height, width, channels),
        dtype=_dtype(x),
        labels=names,
        task=task,
        train=read[0],
        test=read[1] if test else None,
        digest=hashlib.sha256(f"npz 2 {digest} {identity}".encode()).hexdigest(),
        notes=(*found.told(), *turned, *notes, *said),
    )


def _complete(path: Path, found: Roles, held: str) -> None:
    for kind, names in (("x", found.images), ("y", found.labels)):
        if "train" not in names:
            raise DataError(f"{path}: array {kind!r} (or {_USUAL[kind]}) is missing; there are: {held}")
    for part in _HELD_OUT:
        if (part in found.images) != (part in found.labels):
            raise DataError(f"{path}: the {part} part needs both images and labels; there are: {held}")


def _channels_last(found: Roles, arrays: Arrays) -> tuple[Arrays, list[str]]:
    """Convert unambiguous (N, C, H, W) images to (N, H, W, C); returns the arrays and notes for the user."""
    first = [name for name in found.images.values() if is_channels_first(arrays[name].shape)]
    if not first or len(first) < len(found.images):
        return arrays, []
    shape = arrays[first[0]].shape
    note = f"{first[0]} {shape} is taken as (N, C, H, W); the model takes (N, {shape[2]}, {shape[3]}, {shape[1]})"
    return {**arrays, **{name: np.moveaxis(arrays[name], 1, -1) for name in first}}, [note]


def _held_out(found: Roles, arrays: Arrays) -> tuple[Name | None, list[str]]:
    test, validation = (
        (found.images[part], len(arrays[found.images[part]])) if part in found.images else None for part in _HELD_OUT
    )
    chosen = next((part for part in _HELD_OUT if part in found.images), None)
    return chosen, parts.held_out(test, validation)


def _targets(
    path: Path, arrays: Arrays, found: Roles, chosen: list[Name], task: Task
) -> tuple[list[Targets], list[str], tuple[str, ...]]:
    """Targets of each part, names of the classes or values, and notes for the user."""
    names = [found.labels[part] for part in chosen]
    if task == "regression":
        values = [_values(path, arrays[name], name) for name in names]
        if len({each.shape[1] for each in values}) > 1:
            widths = f"{names[1]} has {values[1].shape[1]} values a sample and {names[0]} has {values[0].shape[1]}"
            raise DataError(f"{path}: {widths}; must be equal")
        return values, [str(number) for number in range(values[0].shape[1])], ()
    flat = [_flat(path, arrays[name], name) for name in names]
    named = arrays[found.names].tolist() if found.names and arrays[found.names].dtype.kind == "U" else []
    classes = labels.classes(flat, [f"{path}: {name}" for name in names], named)
    return classes.parts, classes.names, classes.notes


def _bytes(path: Path) -> int:
    """Uncompressed bytes of all arrays."""
    with _errors(path), path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise DataError(f"{path}: truncated, or not an .npz file")
        with zipfile.ZipFile(file) as content:
            return sum(info.file_size for info in content.infolist())


def _headers(path: Path) -> dict[str, tuple[Shape, np.dtype[Any]]]:
    """Shape and dtype of each array, without reading it."""
    found = {}
    with _errors(path), zipfile.ZipFile(path) as content:
        for info in content.infolist():
            with content.open(info) as member:
                version = np.lib.format.read_magic(member)
                read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                if version in read:  # version 3 is for structured dtypes, which hold no images
                    shape, _, dtype = read[version](member)
                    found[info.filename.removesuffix(".npy")] = (shape, dtype)
    return found


def _read(path: Path, names: set[str]) -> Arrays:
    with _errors(path), path.open("rb") as file, np.load(file, allow_pickle=False) as content:
        return {name: content[name] for name in names}


def _unpacked(path: Path, names: set[str], digest: str, cache: Cache) -> Arrays:
    """Map the arrays from copies of the .npy members in the cache, named by numbers."""
    numbers = {name: number for number, name in enumerate(sorted(names))}

    def make(room: Path) -> None:
        with zipfile.ZipFile(path) as content:
            members = [(info, info.filename.removesuffix(".npy")) for info in content.infolist()]
            members = [(info, name) for info, name in members if name in numbers]
            size = sum(info.file_size for info, _ in members)
            with cache.watch.task(f"unpacking {path.name}", size, "bytes") as moved:
                for info, name in members:
                    with _errors(path):
                        member = content.open(info)
                    with member, (room / f"{numbers[name]}.npy").open("xb") as file:
                        while chunk := _chunk(path, member):
                            file.write(chunk)
                            moved(len(chunk))
        _mapped(path, room, numbers)

    return _mapped(path, cache.get(f"unpacked-{digest}-{_hashed(sorted(names))}", make), numbers)


def _hashed(names: list[str]) -> str:
    return hashlib.sha256(repr(names).encode()).hexdigest()[:16]


def _chunk(path: Path, member: IO[bytes]) -> bytes:
    with _errors(path):
        return member.read(1 << 20)


def _mapped(path: Path, folder: Path, numbers: Mapping[str, int]) -> Arrays:
    with _errors(path):
        return {
            name: np.load(folder / f"{number}.npy", mmap_mode="c", allow_pickle=False)
            for name, number in numbers.items()
        }


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    except Exception as error:
        # Damaged bytes make zipfile, zlib and numpy raise nearly anything (found by flipping bits).
        raise DataError(f"{path}: cannot be read: {str(error) or type(error).__name__}") from None


def _part(path: Path, images: NDArray[Any], x: str, targets: Targets, y: str) -> Part:
    if images.ndim not in (3, 4) or 0 in images.shape[1:]:
        raise DataError(f"{path}: {x} has shape {images.shape}; must be (N, H, W) or (N, H, W, C)")
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise DataError(f"{path}: {x} is {images.dtype}; must be uint8 or float")
    if len(images) != len(targets):
        raise DataError(f"{path}: {x} has {len(images)} samples and {y} has {len(targets)}; must be equal")
    if len(images) == 0:
        raise DataError(f"{path}: 0 samples in {x}; at least 1 is needed")
    return Part(targets, lambda: _blocks(path, x, images if images.ndim == 4 else images[..., None]))


def _blocks(path: Path, x: str, images: NDArray[Any]) -> Iterator[Images]:
    dtype = _dtype(images)
    step = block_length(images.shape[1:], dtype)
    for start in range(0, len(images), step):
        with np.errstate(over="ignore"):
            block = images[start : start + step].astype(dtype, copy=False)
        if dtype.kind == "f" and not (finite := np.isfinite(block).all(axis=(1, 2, 3))).all():
            sample = start + int(finite.argmin())
            raise DataError(f"{path}: {x} holds values that are not finite numbers, the first in sample {sample}")
        yield block
        release(images)


def _dtype(images: NDArray[Any]) -> np.dtype[Any]:
    return np.dtype(np.uint8 if images.dtype == np.uint8 else np.float32)


def _flat(path: Path, values: NDArray[Any], name: str) -> NDArray[Any]:
    flat = labels.flat(values)
    if flat.ndim != 1:
        raise DataError(f"{path}: {name} has shape {values.shape}; must be (N,), (N, 1) or one-hot (N, K)")
    return flat


def _values(path: Path, targets: NDArray[Any], y: str) -> Targets:
    if targets.ndim not in (1, 2) or 0 in targets.shape[1:]:
        raise DataError(f"{path}: {y} has shape {targets.shape}; must be (N,) or (N, K) in a regression")
    if targets.dtype.kind != "f":
        raise DataError(f"{path}: {y} is {targets.dtype}; must be floats in a regression")
    with np.errstate(over="ignore"):
        values = targets.astype(np.float32).reshape(len(targets), -1)
    if not (finite := np.isfinite(values).all(axis=1)).all():
        raise DataError(f"{path}: {y} holds values that are not finite numbers, the first in sample {finite.argmin()}")
    return values


def _same_kind(path: Path, arrays: Arrays, x: str, x_test: str) -> None:
    kinds = [f"{_dtype(arrays[name])} of {(*arrays[name].shape[1:], 1)[:3]}" for name in (x_test, x)]
    if kinds[0] != kinds[1]:
        raise DataError(f"{path}: {x_test} is {kinds[0]} and {x} is {kinds[1]}; must be equal")
