"""Parquet with a column of encoded images and one of targets, as Hugging Face and others write it.

An image is bytes, or a struct {bytes, path}. Names of classes are read from Hugging Face's metadata where they are.
A folder holds train*.parquet, and test*.parquet or val*.parquet.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, Field

from trainserve.models import device
from trainserve.models.config import options
from trainserve.models.data.ahead import ahead
from trainserve.models.data.dataset import Images, Targets, Task
from trainserve.models.data.pixels import Form, Size, decode, form
from trainserve.models.data.source import Part, Source
from trainserve.models.errors import DataError

_ROWS = 64
"""Decoded at a time."""
_Row = tuple[str, bytes]
"""Where an image is, and its bytes."""


class Options(BaseModel):
    """Names of the columns."""

    model_config = ConfigDict(extra="forbid", strict=True)

    image: str = Field("image", min_length=1)
    label: str = Field("label", min_length=1)


def source(path: Path, name: str, given: dict[str, Any], task: Task, size: Size | None, digest: str) -> Source:
    """Raises DataError naming the file, UserError naming an option that is not allowed."""
    columns = options(Options, given, "dataset.options")
    train_files, test_files = _files(path)
    train, test = _targets(train_files, columns, task), _targets(test_files, columns, task)
    expected = _form(train_files, columns, size)
    if task == "regression":
        labels = [columns.label]
    else:
        highest = max([int(part.max(initial=-1)) for part in (train, test)])
        if highest >= len(train) + len(test):
            raise DataError(
                f"{path}: label {highest} is outside 0..{len(train) + len(test) - 1} (one class per sample)"
            )
        labels = _names(train_files[0], columns.label) or [str(number) for number in range(highest + 1)]
    decoded = hashlib.sha256(json.dumps(["parquet", 1, columns.model_dump(), size, digest]).encode()).hexdigest()
    return Source(
        name=name,
        file=str(path),
        shape=expected.shape,
        dtype=np.dtype(np.uint8),
        labels=labels,
        task=task,
        train=_part(train_files, columns, train, expected),
        test=_part(test_files, columns, test, expected) if test_files else None,
        digest=decoded,
        encoded=True,
    )


def _files(path: Path) -> tuple[list[Path], list[Path]]:
    """Of the training and of the test part."""
    if not path.is_dir():
        return [path], []
    train = sorted(path.glob("train*.parquet"))
    if not train:
        raise DataError(
            f"{path}: train*.parquet is missing; must hold it, and optionally test*.parquet or val*.parquet"
        )
    return train, sorted(path.glob("test*.parquet")) or sorted(path.glob("val*.parquet"))


def _targets(files: list[Path], columns: Options, task: Task) -> Targets:
    """(N,) int64 class numbers, or (N, 1) float32."""
    parts = [np.empty(0, np.int64 if task == "classification" else np.float32)]
    for file in files:
        with _opened(file) as content:
            _known(file, content.schema_arrow, columns)
            column = content.read(columns=[columns.label]).column(0)
        parts.append(_numbers(f"{file}: column {columns.label!r}", column, task))
    joined = np.concatenate(parts)
    return joined if task == "classification" else joined[:, None]


def _numbers(where: str, column: pa.ChunkedArray, task: Task) -> Targets:
    right = pa.types.is_integer if task == "classification" else pa.types.is_floating
    if not right(column.type):
        needed = "integers" if task == "classification" else "floats"
        raise DataError(f"{where} is {column.type}; must be {needed} in a {task}")
    if column.null_count:
        raise DataError(f"{where}: {column.null_count} values are null; none may be")
    values: Targets = column.to_numpy()
    if task == "regression":
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
        if (broken := np.flatnonzero(~np.isfinite(values))).size:
            raise DataError(f"{where}, row {broken[0]}: {values[broken[0]]} is not a finite number")
        return values
    if values.min(initial=0) < 0:
        raise DataError(f"{where}, row {values.argmin()}: label {values.min()} is negative; must be 0 or more")
    return values.astype(np.int64)


def _form(files: list[Path], columns: Options, size: Size | None) -> Form:
    for file in files:
        for where, content in next(_rows(file, columns), []):
            return form(content, where, size)
    raise DataError(f"{files[0]}: 0 samples; at least 1 is needed")


def _part(files: list[Path], columns: Options, targets: Targets, expected: Form) -> Part:
    def block(rows: list[_Row]) -> Images:
        return np.stack([decode(content, where, expected) for where, content in rows])

    def blocks() -> Iterator[Images]:
        rows = (chunk for file in files for chunk in _rows(file, columns))
        return ahead(block, rows, device.threads(), "decode")

    return Part(targets, blocks)


def _rows(file: Path, columns: Options) -> Iterator[list[_Row]]:
    """A few rows at a time, never a whole file."""
    number = 0
    with _opened(file) as content:
        for batch in content.iter_batches(batch_size=_ROWS, columns=[columns.image]):
            rows = []
            for value in batch.column(0).to_pylist():
                where = f"{file}, row {number}"
                if isinstance(value, dict):
                    value = value.get("bytes")
                if not value:
                    raise DataError(f"{where}: no image; column {columns.image!r} must hold its bytes")
                rows.append((where, value))
                number += 1
            yield rows


def _known(file: Path, schema: pa.Schema, columns: Options) -> None:
    for field in (columns.image, columns.label):
        if field not in schema.names:
            raise DataError(
                f"{file}: column {field!r} is missing; dataset.options names it, of: {', '.join(schema.names)}"
            )
    kind = schema.field(columns.image).type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise DataError(f"{file}: column {columns.image!r} is {kind}; must be binary, or a struct of bytes and path")


def _names(file: Path, label: str) -> list[str]:
    """Of the classes; empty where Hugging Face's metadata is not there."""
    with _opened(file) as content:
        metadata = (content.schema_arrow.metadata or {}).get(b"huggingface", b"{}")
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        return [str(name) for name in json.loads(metadata)["info"]["features"][label]["names"]]
    return []


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(file) as content:
            yield content
    except pa.ArrowException as error:
        raise DataError(f"{file}: not a whole parquet file: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or error}") from None
