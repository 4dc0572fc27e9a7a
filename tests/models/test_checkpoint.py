"""The checkpoint folder: one run at a time, at most as many files as configured, and clear errors if unusable."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trainserve.models import checkpoint
from trainserve.models.checkpoint import opened
from trainserve.models.config import Checkpoint
from trainserve.models.errors import CheckpointFailed, UserError

from .conftest import Config
from .small_run import EPOCHS, PER_EPOCH, checkpoints, finished, network, process

RUN = {"trainer": {"seed": 0}}


def names(folder: Path) -> list[int]:
    return sorted(int(path.name[5:15]) for path in folder.glob("step-*.pt"))


def test_a_folder_in_use_is_refused_by_name_and_free_again_afterwards(tmp_path: Path) -> None:
    config = Checkpoint(folder=str(tmp_path))
    with (
        opened(config, RUN, print),
        pytest.raises(UserError, match=rf"^checkpoint\.folder: {tmp_path} is in use by another run; every run"),
        opened(config, RUN, print),
    ):
        pass
    with opened(config, RUN, print):
        pass


def test_a_killed_runs_folder_is_free(tmp_path: Path) -> None:
    started = process(tmp_path, tmp_path / "out", torn=1)
    started.join(60)
    with opened(Checkpoint(folder=str(tmp_path)), RUN, print) as saved:
        assert saved.newest() is None


@pytest.mark.parametrize(("below", "why"), [("file/folder", "Not a directory"), ("file", "File exists")])
def test_a_folder_that_cannot_be_made_is_named_before_training(tmp_path: Path, below: str, why: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointFailed) as error, opened(Checkpoint(folder=str(tmp_path / below)), RUN, print):
        pass
    assert str(error.value) == f"checkpoint.folder: cannot write {tmp_path / below}: {why}"
    assert (error.value.reason, error.value.exit_code) == ("StoreError", 13)


@pytest.mark.parametrize(("every", "keep", "left"), [(1, 2, [9, 10]), (3, 2, [9, 10]), (4, 9, [4, 8, 10])])
def test_so_many_are_kept_as_asked_and_the_last_epochs_always(
    tmp_path: Path, every: int, keep: int, left: list[int]
) -> None:
    from trainserve.models.config import Trainer
    from trainserve.models.interrupt import Interrupt
    from trainserve.models.train import train

    from .small_run import CPU, TRAINER, little

    with checkpoints(tmp_path, print, everyEpochs=every, keep=keep) as saved:
        train(network(), little(), Trainer(**TRAINER), CPU, lambda _: None, Interrupt(), checkpoints=saved)
    assert names(tmp_path) == [epoch * PER_EPOCH for epoch in left]


def test_a_checkpoint_is_what_torch_loads_and_is_named_by_its_digest(tmp_path: Path) -> None:
    from hashlib import sha256

    finished(tmp_path)
    newest = max(tmp_path.glob("step-*.pt"))
    assert sha256(newest.read_bytes()).hexdigest().startswith(newest.name.split(".")[1])
    held = torch.load(newest, weights_only=True)
    assert held["step"] == EPOCHS * PER_EPOCH
    assert held["network"].keys() == network().state_dict().keys()
    assert json.loads(held["run"]) == {"trainer.seed": 0}


def test_a_file_that_would_run_code_is_not_read(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "made"),)

    torch.save({"format": Evil()}, tmp_path / "evil.pt")
    content = (tmp_path / "evil.pt").read_bytes()
    (tmp_path / "evil.pt").rename(tmp_path / f"step-0000000001.{checkpoint._digest(content)}.pt")
    said: list[str] = []
    with opened(Checkpoint(folder=str(tmp_path)), RUN, said.append) as saved:
        assert saved.newest() is None
    assert "is skipped: it cannot be read" in said[0]
    assert not (tmp_path / "made").exists()


def test_another_formats_checkpoint_is_skipped(tmp_path: Path) -> None:
    torch.save({"format": 99}, tmp_path / "later.pt")
    digest = checkpoint._digest((tmp_path / "later.pt").read_bytes())
    (tmp_path / "later.pt").rename(tmp_path / f"step-0000000001.{digest}.pt")
    said: list[str] = []
    with opened(Checkpoint(folder=str(tmp_path)), RUN, said.append) as saved:
        assert saved.newest() is None
    assert said[0].endswith("is skipped: its format is 99, not 1")


def test_a_run_saves_where_its_config_says_and_another_config_is_refused_there(
    execute: Callable[[Config], dict[str, Any]], stripes: Callable[..., Path], tmp_path: Path
) -> None:
    config = {
        "model": {"name": "convnet", "options": {"channels": 4, "hidden": 8}},
        "dataset": {"path": str(stripes())},
        "trainer": {"epochs": 2},
        "checkpoint": {"folder": str(tmp_path / "checkpoints")},
    }
    assert execute(config)["result"]["secondsLost"] == 0
    assert names(tmp_path / "checkpoints") == [1, 2]
    with pytest.raises(UserError, match=r"is of a run with trainer\.learningRate 0\.001, this run has 0\.01 "):
        execute({**config, "trainer": {"epochs": 2, "learningRate": 0.01}})
    with pytest.raises(UserError, match=r"is of a run with data\.trainingSamples 48, this run has 24 "):
        execute({**config, "dataset": {"path": str(stripes(count=30))}})


def test_what_is_published_needs_no_checkpoints_any_more(
    execute: Callable[[Config], dict[str, Any]], stripes: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoints"
    config = {
        "model": {"name": "convnet", "options": {"channels": 4, "hidden": 8}},
        "dataset": {"path": str(stripes())},
        "trainer": {"epochs": 1},
        "checkpoint": {"folder": str(folder)},
        "job": {"uid": "uid-1"},
        "store": {"root": str(tmp_path / "store")},
        "output": {"model": "stripes"},
    }
    assert execute(config)["outcome"] == "Published"
    assert not folder.exists()
    folder.mkdir()
    (folder / "reached.json").write_text("{}")
    (folder / "mine.txt").write_text("left alone")
    assert execute(config)["artifact"]["version"] == 1
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
