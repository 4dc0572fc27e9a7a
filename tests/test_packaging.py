"""The packages that pip installs for the extras of pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
INSTALLED = {
    str(path.relative_to(ROOT)): re.search(r"'\.\[([a-z0-9,-]+)\]'", path.read_text())
    for path in (*(ROOT / "images").glob("*.Dockerfile"), ROOT / "dev" / "setup.sh")
}
"""The extras that each environment is installed with."""


def packages(extras: list[str]) -> set[str]:
    """Return the packages that extras require, including those of nested extras."""
    found = set()
    for requirement in (each for extra in extras for each in EXTRAS[extra]):
        if within := re.match(r"trainserve\[(.*)\]", requirement):
            found |= packages(within[1].split(","))
        else:
            found |= set(re.findall(r"^[A-Za-z0-9-]+", requirement))
    return found


@pytest.mark.parametrize("where", sorted(INSTALLED))
def test_whatever_trains_runs_graphs_with_one_onnxruntime_and_never_with_two(where: str) -> None:
    extras = INSTALLED[where]
    assert extras is not None
    found = packages(extras[1].split(","))
    assert len(found & {"onnxruntime", "onnxruntime-gpu"}) == ("torch" in found)


def test_an_image_with_cuda_has_the_onnxruntime_for_it() -> None:
    extras = INSTALLED["images/trainer.Dockerfile"]
    assert extras is not None
    assert "onnxruntime-gpu" in packages(extras[1].split(","))
