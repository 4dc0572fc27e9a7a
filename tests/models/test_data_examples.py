"""The examples of data sets work as committed."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from trainserve.models import config, data

EXAMPLES = Path(__file__).parents[2] / "examples/data"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the example configurations and the data that make.py writes next to them."""
    folder = tmp_path_factory.mktemp("examples")
    for path in EXAMPLES.glob("*.json"):
        shutil.copy(path, folder)
    spec = importlib.util.spec_from_file_location("make", EXAMPLES / "make.py")
    assert spec is not None and spec.loader is not None
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    make.main(folder / "digits")
    return folder


@pytest.mark.parametrize(
    ("name", "summary"),
    [
        ("images", "images: 1438 training and 359 test images of 28x28x1 uint8, 10 classes"),
        ("archive", "images: 1438 training and 359 test images of 32x32x1 uint8, 10 classes"),
        ("parquet", "digits: 1352 training and 445 test images of 28x28x1 uint8, 10 classes"),
        ("regression", "ink: 1438 training and 359 test images of 28x28x1 uint8, 1 target(s)"),
        ("synthetic", "synthetic: 4000 training and 1000 test images of 32x32x3 uint8, 10 classes"),
    ],
)
def test_an_examples_data_is_read(made: Path, monkeypatch: pytest.MonkeyPatch, name: str, summary: str) -> None:
    monkeypatch.setenv("TRAINSERVE_CACHE", str(made / "cache"))
    loaded = config.load(made / f"{name}.json")
    assert str(data.load(loaded.dataset, loaded.trainer.seed, folder=loaded.folder)) == summary


def test_every_example_is_a_config_that_is_taken() -> None:
    for path in EXAMPLES.glob("*.json"):
        config.parse(json.loads(path.read_text()))
