"""Small data sets in each supported format: image folders, archives and parquet files."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from trainserve.models import data
from trainserve.models.config import parse
from trainserve.models.data.dataset import Dataset
from trainserve.models.data.watch import Watch


def load(seed: int = 0, **dataset: Any) -> Dataset:
    return data.load(parse({"model": {"name": "convnet"}, "dataset": dataset}).dataset, seed)


def told(**dataset: Any) -> tuple[Dataset, list[str]]:
    """Load a data set; return it with the lines logged meanwhile."""
    lines: list[str] = []
    config = parse({"model": {"name": "convnet"}, "dataset": dataset}).dataset
    return data.load(config, 0, Watch(lines.append)), lines


def picture(number: int, label: int, mode: str = "L", size: tuple[int, int] = (8, 8)) -> Image.Image:
    """Return noise seeded by `number`, with a bright row for `label`. `size` is (H, W)."""
    pixels = np.random.default_rng(number).integers(0, 60, (*size, 3), dtype=np.uint8)
    pixels[label % size[0]] = 255
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return buffer.getvalue()


def folder(
    root: Path, parts: tuple[str, ...] = ("train",), classes: tuple[str, ...] = ("cat", "dog"), count: int = 10,
    suffix: str = "png", mode: str = "L", size: tuple[int, int] = (8, 8),
) -> Path:  # fmt: skip
    """Write an image folder in ImageNet's layout with `count` images per class."""
    kind = "PNG" if suffix == "png" else "JPEG"
    number = 0
    for part in parts:
        for label, name in enumerate(classes):
            (root / part / name).mkdir(parents=True)
            for _ in range(count):
                content = encoded(picture(number, label, mode, size), kind)
                (root / part / name / f"{number:04}.{suffix}").write_bytes(content)
                number += 1
    return root


def parquet(path: Path, images: Any, targets: Any, **names: str) -> Path:
    """Write a parquet file with the columns `image` and `label`, or as named."""
    columns = {names.get("image", "image"): pa.array(images), names.get("label", "label"): pa.array(targets)}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=7)
    return path


def npz(count: int = 60, seed: int = 0) -> bytes:
    """Return an .npz of noise in three classes."""
    buffer = io.BytesIO()
    x = np.random.default_rng(seed).integers(0, 256, (count, 8, 8), dtype=np.uint8)
    np.savez(buffer, x=x, y=np.arange(count) % 3)
    return buffer.getvalue()


def kept(cache: Path) -> list[str]:
    """Return the cache's entries, and the partial files that its users never see."""
    entries = [path.name for path in cache.iterdir() if path.name not in ("locks", "known", "partial")]
    return sorted(entries + [f"partial/{path.name}" for path in cache.glob("partial/*")])


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
