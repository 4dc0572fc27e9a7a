"""Folders of models, and archives of them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

VERSION = "default/digits/1"


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def packed(folder: Path, suffix: str, around: str = "") -> bytes:
    out = io.BytesIO()
    if suffix == ".zip":
        with zipfile.ZipFile(out, "w") as archive:
            for name in sorted(names(folder)):
                archive.write(folder / name, around + name)
    else:
        fast: dict[str, Any] = {} if suffix == ".tar" else {"compresslevel": 1}
        with tarfile.open(fileobj=out, mode="w" if suffix == ".tar" else "w:gz", **fast) as archive:
            archive.add(folder, around or ".")
    return out.getvalue()
