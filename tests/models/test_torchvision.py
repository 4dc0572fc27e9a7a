"""torchvision can be imported everywhere: in a script, in its subprocesses, and beside libraries that import it."""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainserve.models.imports import before_import, when_imported

SPAWNS = """
from torch.utils.data import DataLoader
from torchvision import datasets, transforms
if __name__ == "__main__":
    images = datasets.FakeData(8, (1, 28, 28), 10, transform=transforms.ToTensor())
    print(sum(len(labels) for _, labels in DataLoader(images, 4, num_workers=1, multiprocessing_context="spawn")))
    import torch, torchmetrics
    print(torchmetrics.Accuracy("binary")(torch.tensor([1, 0]), torch.tensor([1, 0])).item())
"""


def test_a_script_its_spawned_workers_and_torchmetrics_import_it(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SPAWNS)
    ended = subprocess.run([sys.executable, tmp_path / "train.py"], capture_output=True, text=True, timeout=300)
    assert (ended.stdout, ended.returncode) == ("8\n1.0\n", 0), ended.stderr


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = "trainserve_test_imported"
    (tmp_path / f"{name}.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    finders = list(sys.meta_path)
    yield name
    sys.meta_path[:] = finders
    sys.modules.pop(name, None)


def test_what_waits_for_an_import_acts_once_around_it(module: str) -> None:
    steps: list[object] = []
    before_import(module, lambda: steps.append(module in sys.modules and "VALUE" in vars(sys.modules[module])))
    when_imported(module, lambda imported: steps.append(imported.VALUE))
    assert importlib.import_module(module).VALUE == 1
    importlib.reload(sys.modules[module])
    assert steps == [False, 1]


def test_a_module_that_is_only_looked_for_is_still_waited_for(module: str) -> None:
    steps: list[object] = []
    when_imported(module, lambda imported: steps.append(imported.VALUE))
    assert importlib.util.find_spec(module) is not None
    assert steps == []
    importlib.import_module(module)
    assert steps == [1]


def test_what_was_waited_for_keeps_its_own_loader(module: str) -> None:
    before_import(module, lambda: None)
    imported = importlib.import_module(module)
    assert imported.__spec__ is not None
    assert type(imported.__spec__.loader).__name__ == type(imported.__loader__).__name__ == "SourceFileLoader"


def test_a_module_that_is_not_there_is_missing_as_ever() -> None:
    before_import("trainserve_test_nowhere", lambda: None)
    with pytest.raises(ModuleNotFoundError, match="trainserve_test_nowhere"):
        importlib.import_module("trainserve_test_nowhere")
