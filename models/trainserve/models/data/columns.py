"""Columns of a Parquet file: which holds the images, which the targets, and the values of the targets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray

from trainserve.models.data import hub_names
from trainserve.models.data.dataset import Task
from trainserve.models.data.hub_names import Features
from trainserve.models.errors import DataError

_IMAGES = ("image", "img", "picture", "photo", "jpg", "png")
_LABELS = ("label", "labels", "target", "class", "cls")
"""Usual names, in order of preference."""


@dataclass(frozen=True)
class Columns:
    """Names of the image and label columns, Hugging Face's features of all columns, and notes for the user."""

    image: str
    label: str
    features: Features
    notes: tuple[str, ...] = ()


def choose(file: Path, schema: pa.Schema, image: str | None, label: str | None, task: Task) -> Columns:
    """Choose columns: as given, by usual name, or the only possible one. Raises DataError naming the columns."""
    features = hub_names.of_metadata(schema.metadata)
    images = [name for name, column in features.items() if column.get("_type") == "Image"]
    images = images or [field.name for field in schema if _is_image(field.type)]
    classes = [name for name, column in features.items() if column.get("_type") == "ClassLabel"]
    found = {
        "image": image or _first(_IMAGES, schema.names, images),
        "label": label or _first(_LABELS, schema.names, classes if task == "classification" else ()),
    }
    for kind, name in found.items():
        if name is None or name not in schema.names:
            raise DataError(
                f"{file}: column {name or kind!r} is missing; set dataset.options.{kind} to one of: "
                f"{', '.join(schema.names)}"
            )
    notes = [f"column {name!r} is the {kind}" for kind, name in found.items() if name != kind]
    asked = (image or found["image"], label or found["label"]) == (image, label)
    return Columns(str(found["image"]), str(found["label"]), features, () if asked else tuple(notes))


def check(file: Path, schema: pa.Schema, chosen: Columns) -> None:
    """Raise DataError if the file lacks a chosen column or its image column does not hold bytes."""
    for name in (chosen.image, chosen.label):
        if name not in schema.names:
            raise DataError(f"{file}: column {name!r} is missing; there are: {', '.join(schema.names)}")
    kind = schema.field(chosen.image).type
    if not _is_image(kind):
        raise DataError(f"{file}: column {chosen.image!r} is {kind}; must be binary, or a struct of bytes and path")


def values(where: str, column: pa.ChunkedArray, task: Task) -> NDArray[Any]:
    """Targets (N,): integers, booleans or strings of a classification, float32 of a regression. Raises DataError."""
    column = _plain(column)
    kind = column.type
    if not (_is_class if task == "classification" else _is_value)(kind):
        needed = "integers or strings" if task == "classification" else "floats"
        raise DataError(f"{where} is {kind}; must be {needed} in a {task}")
    if column.null_count:
        raise DataError(f"{where}: {column.null_count} values are null; must be 0")
    if not _is_value(kind):
        found: NDArray[Any] = np.array(column.to_pylist(), np.str_) if _is_text(kind) else column.to_numpy()
        return found
    with np.errstate(over="ignore"):
        numbers: NDArray[Any] = column.to_numpy().astype(np.float32)
    if (broken := np.flatnonzero(~np.isfinite(numbers))).size:
        raise DataError(f"{where}, row {broken[0]}: {numbers[broken[0]]} is not a finite number")
    return numbers


def _first(usual: Iterable[str], names: list[str], marked: Iterable[str]) -> str | None:
    """The first usual name among the `marked` ones, or among all if none is marked; else the only marked one."""
    marked = [*marked]
    found = [name for name in usual if name in (marked or names)]
    return found[0] if found else marked[0] if len(marked) == 1 else None


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column without dictionary encoding (categories of pandas and polars) and without one-element lists."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if _is_list(column.type) and not column.null_count:
        flat = pa.chunked_array([chunk.flatten() for chunk in column.chunks], column.type.value_type)
        lengths = {len(value) for value in column.to_pylist()}
        return flat if lengths == {1} else column
    return column


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return _is_any(kind, pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)


def _is_text(kind: pa.DataType) -> bool:
    return _is_any(kind, pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)


def _is_list(kind: pa.DataType) -> bool:
    return _is_any(kind, pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)


def _is_class(kind: pa.DataType) -> bool:
    return _is_text(kind) or _is_any(kind, pa.types.is_integer, pa.types.is_boolean)


def _is_value(kind: pa.DataType) -> bool:
    return _is_any(kind, pa.types.is_floating)


def _is_any(kind: pa.DataType, *tests: Callable[[pa.DataType], bool]) -> bool:
    return any(test(kind) for test in tests)
