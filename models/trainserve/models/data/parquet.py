"""Parquet files with a column of encoded images and one of targets, as Hugging Face and others write them.

An image is bytes or a struct {bytes, path}. Labels are integers or strings; class names come from Hugging Face's
metadata if present. `hub` has the layouts of folders.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from numpy.typing import NDArray

from trainserve.api import limits
from trainserve.api.catalogue import ParquetOptions
from trainserve.files import pictures
from trainserve.files.pictures import BadPicture, Look
from trainserve.models import device
from trainserve.models.config import options
from trainserve.models.data import columns, hub, hub_names, labels, looks, parts
from trainserve.models.data.ahead import ahead
from trainserve.models.data.cache import Cache
from trainserve.models.data.dataset import Images, Targets, Task
from trainserve.models.data.looks import Asked, Looks
from trainserve.models.data.pixels import Form, Size, decode, form
from trainserve.models.data.source import Part, Source
from trainserve.models.errors import DataError

_ROWS = 64
"""Rows decoded at a time."""
_Row = tuple[str, bytes]
"""The place of an image, for errors, and its bytes."""


@dataclass(frozen=True)
class _Table:
    """The files of a part and the raw values of their label column."""

    name: str
    files: list[Path]
    values: NDArray[Any]


def source(
    path: Path,
    name: str,
    given: dict[str, Any],
    task: Task,
    size: Size | None,
    asked: Asked,
    digest: str,
    cache: Cache,
) -> Source:
    """The data set at `path`. Raises DataError naming the file, UserError naming an option that is not allowed."""
    wanted = options(ParquetOptions, given, "dataset.options")
    found = hub.find(path, wanted.config) if path.is_dir() else hub.Files({"train": [path]})
    first = found.parts["train"][0]
    chosen = columns.choose(first, _schema(first), wanted.image, wanted.label, task)
    tables = {part: _table(path, part, files, chosen, task) for part, files in found.parts.items()}
    train = tables["train"]
    test, notes = _held_out(tables, task)
    if task == "regression":
        names, targets = [chosen.label], [table.values[:, None] for table in (train, test) if table]
    else:
        named = hub_names.class_names(chosen.features, chosen.label) or _beside(path, found.config, chosen.label)
        both = [table for table in (train, test) if table]
        where = [f"{table.files[0]}: column {chosen.label!r}" for table in both]
        classes = labels.classes([table.values for table in both], where, named)
        names, targets, notes = classes.names, classes.parts, [*notes, *classes.notes]
    counted = _looks([table.files for table in (train, test) if table], chosen.image, digest, cache)
    mode = looks.mode(counted, asked)
    expected = _form(train.files, chosen.image, size, mode)
    identity = ["parquet", 2, chosen.image, found.config, [*tables], size, mode, digest]
    return Source(
        name=name,
        file=str(path),
        shape=expected.shape,
        dtype=np.dtype(np.uint8),
        labels=names,
        task=task,
        train=_part(train.files, chosen.image, targets[0], expected),
        test=_part(test.files, chosen.image, targets[1], expected) if test else None,
        digest=hashlib.sha256(json.dumps(identity).encode()).hexdigest(),
        encoded=True,
        notes=(*chosen.notes, *_strays(found), *notes, *looks.told(counted, mode)),
    )


def _beside(path: Path, config: str, label: str) -> list[str]:
    return hub_names.beside(path if path.is_dir() else path.parent, config, label)


def _strays(found: hub.Files) -> list[str]:
    notes = []
    if found.others:
        others = _few([other or "(none)" for other in found.others])
        notes.append(f"config {found.config or '(none)'} is read, 1 of {len(found.others) + 1}; not read: {others}")
    if found.strays:
        notes.append(f"skipped files that belong to no part: {_few([file.name for file in found.strays])}")
    return notes


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _schema(file: Path) -> pa.Schema:
    with _opened(file) as content:
        return content.schema_arrow


def _table(path: Path, part: str, files: list[Path], chosen: columns.Columns, task: Task) -> _Table:
    """Read the label column of a part. Raises DataError for a part without rows."""
    read = []
    for file in files:
        with _opened(file) as content:
            columns.check(file, content.schema_arrow, chosen)
            column = content.read(columns=[chosen.label]).column(0)
        read.append(columns.values(f"{file}: column {chosen.label!r}", column, task))
    values = np.concatenate(read)
    if not len(values):
        raise DataError(f"{path if part == 'train' else files[0]}: 0 samples; at least 1 is needed")
    return _Table(part, files, values)


def _held_out(tables: dict[parts.Part, _Table], task: Task) -> tuple[_Table | None, list[str]]:
    """The part to evaluate on, and notes. On the Hub, -1 in all rows means that the labels of a part are withheld."""
    hidden = [
        part
        for part, table in tables.items()
        if part != "train"
        and task == "classification"
        and table.values.dtype.kind == "i"
        and (table.values == -1).all()
    ]
    test, validation = (tables[part] if part in tables and part not in hidden else None for part in _HELD_OUT)
    told = parts.held_out(*((table.name, len(table.values)) if table else None for table in (test, validation)))
    return test or validation, told + [f"{part}: all labels are -1 (withheld); not used" for part in hidden]


_HELD_OUT: tuple[parts.Part, parts.Part] = ("test", "validation")


def _looks(files: Iterable[list[Path]], image: str, digest: str, cache: Cache) -> Looks:
    """The Looks of all pictures, cached by `digest`."""

    def make(room: Path) -> None:
        counts = Looks(
            look for part in files for file in part for rows in _rows(file, image) for look in map(_look, rows)
        )
        (room / "looks.json").write_text(json.dumps([[asdict(look), count] for look, count in counts.items()]))

    key = hashlib.sha256(json.dumps(["looks", 1, image, digest]).encode()).hexdigest()
    known = json.loads((cache.get(f"found-{key}", make) / "looks.json").read_text())
    return Looks({Look(**look): count for look, count in known})


def _look(row: _Row) -> Look:
    where, content = row
    try:
        return pictures.look(BytesIO(content))
    except BadPicture as error:
        raise DataError(f"{where}: {error}") from None


def _form(files: list[Path], image: str, size: Size | None, mode: pictures.Mode) -> Form:
    where, content = next(row for file in files for rows in _rows(file, image) for row in rows)
    return form(content, where, size, mode)


def _part(files: list[Path], image: str, targets: Targets, expected: Form) -> Part:
    def block(rows: list[_Row]) -> Images:
        return np.stack([decode(content, where, expected) for where, content in rows])

    def blocks() -> Iterator[Images]:
        rows = (chunk for file in files for chunk in _rows(file, image))
        return ahead(block, rows, device.threads(), "decode")

    return Part(targets, blocks)


def _rows(file: Path, image: str) -> Iterator[list[_Row]]:
    """The images of a file, _ROWS at a time, never the whole file."""
    number = 0
    with _opened(file) as content:
        for batch in content.iter_batches(batch_size=_ROWS, columns=[image]):
            rows = []
            for value in batch.column(0).to_pylist():
                where = f"{file}, row {number}"
                if isinstance(value, dict):
                    value = value.get("bytes")
                if not value:
                    raise DataError(f"{where}: no image; column {image!r} must hold its bytes")
                rows.append((where, value))
                number += 1
            yield rows


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(file) as content:
            groups = (content.metadata.row_group(number) for number in range(content.metadata.num_row_groups))
            size, most = sum(group.total_byte_size for group in groups), limits.current().bytes("dataset")
            if size > most:
                claims = (
                    f"its columns take {limits.told(size)}; at most {limits.told(most)} (the chart's limits.dataset)"
                )
                raise DataError(f"{file}: {claims}")
            yield content
    except pa.ArrowException as error:
        raise DataError(f"{file}: truncated, or not a Parquet file: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or error}") from None
