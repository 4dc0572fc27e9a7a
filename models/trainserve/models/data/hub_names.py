"""Class names as Hugging Face stores them: in a Parquet file's metadata, or in files beside the data.

Beside the data they are in the front matter of README.md (`dataset_info`), or in dataset_info(s).json of older data
sets.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Features = dict[str, Any]
"""Columns by name, as {"_type": "Image"} or {"_type": "ClassLabel", "names": [...]}."""


def of_metadata(metadata: dict[bytes, bytes] | None) -> Features:
    """Features from the metadata of a Parquet schema; empty without Hugging Face's metadata."""
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        features = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {name: column for name, column in features.items() if isinstance(column, dict)}
    return {}


def class_names(features: Features, column: str) -> list[str]:
    """Class names of a ClassLabel column; empty if `column` is not one."""
    with contextlib.suppress(KeyError, TypeError):
        return [str(name) for name in features[column]["names"]]
    return []


def beside(folder: Path, config: str, column: str) -> list[str]:
    """Class names from the files in `folder`; empty if none has them."""
    for info in (*_json(folder, config), *_front_matter(folder, config)):
        if names := class_names(info, column):
            return names
    return []


def _json(folder: Path, config: str) -> Iterator[Features]:
    for name in ("dataset_info.json", "dataset_infos.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            content = json.loads((folder / name).read_text())
            for info in [content] if "features" in content else _of(config, content):
                yield {**info["features"]}


def _of(config: str, infos: dict[str, Any]) -> list[Any]:
    """The info of `config` if present, else all."""
    return [infos[config]] if config in infos else list(infos.values())


def _front_matter(folder: Path, config: str) -> Iterator[Features]:
    """Features from README.md: `dataset_info` is one info or a list of infos, whose features are
    {name, dtype: {class_label: {names: {"0": ...}}}}."""
    try:
        import yaml
    except ImportError:  # installed by the serving extra and in the images
        return
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        _, header, _ = (folder / "README.md").read_text().split("---\n", 2)
        infos = yaml.safe_load(header)["dataset_info"]
        infos = {info.get("config_name", ""): info for info in (infos if isinstance(infos, list) else [infos])}
        for info in _of(config, infos):
            names = {feature["name"]: _labels(feature.get("dtype")) for feature in info["features"]}
            yield {name: {"names": found} for name, found in names.items() if found}


def _labels(dtype: Any) -> list[str]:
    if not isinstance(dtype, dict):
        return []
    names = (dtype.get("class_label") or {}).get("names") or {}
    ordered = [names[number] for number in sorted(names, key=int)] if isinstance(names, dict) else names
    return [str(name) for name in ordered]
