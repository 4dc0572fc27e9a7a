"""Exact resumption: a run stopped anywhere, by any means, ends with an uninterrupted run's weights, bit for bit."""

import json
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trainserve.models.errors import CheckpointFailed, UserError

from .small_run import EPOCHS, PER_EPOCH, STEPS, finished, process


@pytest.fixture(scope="module")
def uninterrupted() -> str:
    return finished()[0]


def names(folder: Path) -> list[int]:
    """Return the steps of the checkpoints in the folder."""
    return sorted(int(path.name[5:15]) for path in folder.glob("step-*.pt"))


def stopped(folder: Path, code: int, **how: Any) -> None:
    started = process(folder, folder.with_suffix(".json"), **how)
    started.join(60)
    assert started.exitcode == code


def test_one_config_and_seed_give_the_same_weights(uninterrupted: str, tmp_path: Path) -> None:
    assert finished()[0] == uninterrupted
    assert finished(tmp_path)[0] == uninterrupted
    assert finished(seed=1)[0] != uninterrupted


@pytest.mark.parametrize("step", sorted(random.Random(0).sample(range(1, STEPS + 1), 20)))
def test_stopped_at_a_random_step_and_resumed_it_is_the_uninterrupted_run(
    step: int, uninterrupted: str, tmp_path: Path
) -> None:
    killed = step % 2 == 0
    folder = tmp_path / "checkpoints"
    stopped(folder, -signal.SIGKILL if killed else 143, kill=(signal.SIGKILL if killed else signal.SIGTERM, step))
    newest = (step - 1) // PER_EPOCH * PER_EPOCH if killed else step
    assert max(names(folder), default=0) == newest
    said: list[str] = []
    assert finished(folder, said)[0] == uninterrupted
    assert any(line.startswith(f"resumed: after step {newest} of {STEPS}") for line in said) == (newest > 0)


def test_sigterm_says_where_it_stopped_and_what_it_saved(tmp_path: Path) -> None:
    stopped(tmp_path / "checkpoints", 143, kill=(signal.SIGTERM, 7))
    left = json.loads((tmp_path / "checkpoints.json").read_text())
    (path,) = (tmp_path / "checkpoints").glob("step-0000000007.*.pt")
    assert left["message"] == f"SIGTERM: stopped after step 7 of {STEPS}, saved as {path}"


def test_stopped_again_and_again_by_both_signals_it_is_still_the_uninterrupted_run(
    uninterrupted: str, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoints"
    for kill in [(signal.SIGTERM, 3), (signal.SIGKILL, 9), (signal.SIGTERM, 1), (signal.SIGKILL, 2)]:
        stopped(folder, -9 if kill[0] == signal.SIGKILL else 143, kill=kill)
    assert finished(folder)[0] == uninterrupted


def test_killed_in_the_middle_of_writing_a_checkpoint_it_goes_on_from_the_one_before(
    uninterrupted: str, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoints"
    stopped(folder, -signal.SIGKILL, torn=3)
    assert names(folder) == [PER_EPOCH, 2 * PER_EPOCH]
    assert list(folder.glob(".writing-*"))
    said: list[str] = []
    assert finished(folder, said)[0] == uninterrupted
    assert f"resumed: after step {2 * PER_EPOCH} of" in " ".join(said)
    assert not list(folder.glob(".writing-*"))


@pytest.mark.parametrize("damage", ["torn", "changed", "empty"])
def test_a_damaged_checkpoint_is_skipped_by_name_and_the_one_before_is_used(
    damage: str, uninterrupted: str, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoints"
    stopped(folder, 143, kill=(signal.SIGTERM, 10))
    (newest,) = folder.glob("step-0000000010.*.pt")
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes({"torn": bytes(content[:-100]), "changed": bytes(content), "empty": b""}[damage])
    said: list[str] = []
    assert finished(folder, said)[0] == uninterrupted
    assert any(line.startswith(f"checkpoint: {newest} is skipped: its ") for line in said)
    assert any(line.startswith(f"resumed: after step {2 * PER_EPOCH} of") for line in said)
    assert names(folder) == [STEPS - PER_EPOCH, STEPS]


def test_when_every_checkpoint_is_damaged_the_run_begins_anew_and_says_so(uninterrupted: str, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    stopped(folder, 143, kill=(signal.SIGTERM, 10))
    for path in folder.glob("step-*.pt"):
        path.write_bytes(b"torn")
    said: list[str] = []
    assert finished(folder, said)[0] == uninterrupted
    assert sum(" is skipped: " in line for line in said) == 2
    assert not any(line.startswith("resumed") for line in said)


def test_a_run_that_had_ended_trains_nothing_and_reports_where_it_ended(uninterrupted: str, tmp_path: Path) -> None:
    _, ended = finished(tmp_path)
    again, report = finished(tmp_path)
    assert again == uninterrupted
    assert (report.step, report.epoch, report.loss) == (STEPS, EPOCHS, ended.loss)
    assert report.seconds == pytest.approx(ended.seconds, abs=0.05)


def test_the_resumed_epochs_loss_is_that_of_the_whole_epoch(tmp_path: Path) -> None:
    _, ended = finished()
    stopped(tmp_path / "checkpoints", 143, kill=(signal.SIGTERM, STEPS - 2))
    assert finished(tmp_path / "checkpoints")[1].loss == pytest.approx(ended.loss, rel=1e-12)


def test_seconds_lost_are_those_since_the_last_checkpoint_over_all_attempts(tmp_path: Path) -> None:
    _, ended = finished(tmp_path / "whole")
    assert ended.seconds_lost == 0
    folder = tmp_path / "checkpoints"
    stopped(folder, 143, kill=(signal.SIGTERM, 10))
    (folder / "reached.json").write_text(json.dumps({"seconds": 5.0, "lost": 2.0}))
    _, resumed = finished(folder)
    assert 6.5 < resumed.seconds_lost < 7
    (folder / "reached.json").write_text("torn")
    assert finished(folder)[1].seconds_lost == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.decode()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_error_and_leaves_the_older_checkpoint(uninterrupted: str, small_disk: Path) -> None:
    stopped(small_disk / "checkpoints", 143, kill=(signal.SIGTERM, 6))
    assert names(small_disk / "checkpoints") == [4, 6]
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(bytes(256 * 1024))
    with pytest.raises(CheckpointFailed) as error:
        finished(small_disk / "checkpoints")
    assert error.value.exit_code == 13
    assert str(error.value).startswith(f"cannot write the checkpoint {small_disk}/checkpoints/step-0000000008.")
    assert "No space left on device; the newest one is step-0000000006." in str(error.value)
    assert names(small_disk / "checkpoints") == [4, 6]
    assert not list((small_disk / "checkpoints").glob(".writing-step*"))
    filler.unlink()
    assert finished(small_disk / "checkpoints")[0] == uninterrupted


def test_a_resume_under_another_config_is_refused_by_field(tmp_path: Path) -> None:
    from trainserve.models.checkpoint import opened
    from trainserve.models.config import Checkpoint

    finished(tmp_path, epochs=1)
    config = Checkpoint(folder=str(tmp_path))
    with opened(config, {"trainer": {"seed": 1}}, print) as checkpoints, pytest.raises(UserError) as error:
        checkpoints.newest()
    text = f"checkpoint.folder: {tmp_path} is of a run with trainer.seed 0, this run has 1 (step-0000000004."
    assert str(error.value).startswith(text)
    text = r"is of a run with trainer\.ema unset, this run has 0\.5 "
    with (
        opened(config, {"trainer": {"seed": 0, "ema": 0.5}}, print) as checkpoints,
        pytest.raises(UserError, match=text),
    ):
        checkpoints.newest()
