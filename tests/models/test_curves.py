"""Training curves: bounded whatever the run's length, continued over attempts, published in the manifest."""

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainserve import store
from trainserve.models import checkpoint
from trainserve.models.config import Trainer
from trainserve.models.curves import LIMIT, Curves, Point, thinned
from trainserve.models.errors import Interrupted
from trainserve.models.interrupt import Interrupt
from trainserve.models.train import train

from .conftest import Config, FinishedRun, RunScript
from .scripts import EXPORT, MODEL
from .small_run import CPU, EPOCHS, PER_EPOCH, STEPS, TRAINER, checkpoints, little, network


class Stopping(Interrupt):
    """Request a stop after `steps` steps, as SIGTERM would."""

    def __init__(self, steps: int) -> None:
        self._asked, self._steps = 0, steps
        super().__init__()

    @property
    def requested(self) -> bool:
        self._asked += 1
        return self._asked >= self._steps

    @requested.setter
    def requested(self, value: bool) -> None:
        """Ignore the value: the step count alone decides."""


def points(steps: list[int]) -> list[Point]:
    return [Point(epoch=1, step=step, seconds=float(step)) for step in steps]


@settings(max_examples=100)
@given(
    steps=st.sets(st.integers(0, 10**6), min_size=1, max_size=300).map(sorted),
    power=st.integers(0, 20),
)
def test_what_is_thinned_keeps_both_ends_and_is_thinned_again_as_if_all_were_there(
    steps: list[int], power: int
) -> None:
    width = 2**power
    kept = [point.at for point in thinned(points(steps), width)]
    assert kept == sorted({*kept})
    assert {*kept} <= {*steps}
    assert (kept[0], kept[-1]) == (steps[0], steps[-1])
    assert len(kept) <= steps[-1] // width - steps[0] // width + 2
    assert thinned(thinned(points(steps), width), 2 * width) == thinned(points(steps), 2 * width)


@pytest.mark.parametrize("count", [LIMIT, LIMIT + 1, 2 * LIMIT, 12_345, 100_000])
def test_a_run_of_any_length_leaves_points_evenly_over_it(count: int) -> None:
    recorded = Curves()
    for point in points([*range(1, count + 1)]):
        recorded.add(point)
    kept = [point.at for point in recorded.points]
    assert LIMIT / 2 <= len(kept) <= LIMIT
    assert (kept[0], kept[-1]) == (1, count)
    gaps = [after - before for before, after in itertools.pairwise(kept)]
    assert len({*gaps[1:-1]}) == 1, "all alike, but for the ends"


@settings(max_examples=50)
@given(steps=st.lists(st.integers(0, 5000), min_size=1, max_size=3000))
def test_never_more_than_the_limit_is_kept_whatever_is_told(steps: list[int]) -> None:
    recorded = Curves()
    for point in points(steps):
        recorded.add(point)
        assert len(recorded.points) <= LIMIT
        assert recorded.points[-1] == point
    again = Curves()
    again.load(recorded.state)
    assert again.points == recorded.points


def test_a_point_replaces_those_of_the_same_moment_and_of_later_ones() -> None:
    recorded = Curves()
    for step in (1, 2, 3, 2):
        recorded.add(Point(epoch=1, step=step, seconds=0.0, loss=float(step)))
    assert [point.at for point in recorded.points] == [1, 2]


def test_what_is_no_number_is_null_when_published() -> None:
    recorded = Curves()
    recorded.add(Point(epoch=1, step=1, seconds=0.1234567891, loss=math.nan, accuracy=0.5))
    recorded.add(Point(epoch=1, step=2, seconds=1.0, loss=2.0, accuracy=math.inf))
    assert recorded.published() == store.Curves(
        epoch=[1, 1], step=[1, 2], seconds=[0.123457, 1.0], loss=[None, 2.0], accuracy=[0.5, None]
    )


def test_nothing_recorded_is_no_curve() -> None:
    assert Curves().published() is None


def test_the_loop_records_every_epochs_end() -> None:
    recorded = Curves()
    train(network(), little(), Trainer(**TRAINER), CPU, lambda _: None, Interrupt(), curves=recorded)
    ends = {point.step: point for point in recorded.points if point.at % PER_EPOCH == 0}
    assert [*ends] == [epoch * PER_EPOCH for epoch in range(1, EPOCHS + 1)]
    last = ends[STEPS]
    assert last.epoch == EPOCHS
    assert last.loss is not None and last.accuracy is not None and last.samples_per_second is not None
    rates = [point.learning_rate for point in ends.values()]
    assert None not in rates and len({*rates}) == EPOCHS, "the schedule is OneCycle"
    assert [point.seconds for point in recorded.points] == sorted(point.seconds for point in recorded.points)


def test_a_run_that_goes_on_has_the_curves_of_its_earlier_attempts(tmp_path: Path) -> None:
    first, second, third = Curves(), Curves(), Curves()
    config = Trainer(**TRAINER)

    def attempt(curves: Curves, interrupt: Interrupt) -> None:
        with checkpoints(tmp_path, print) as saved:
            train(network(), little(), config, CPU, lambda _: None, interrupt, checkpoints=saved, curves=curves)

    with pytest.raises(Interrupted):
        attempt(first, Stopping(10))
    attempt(second, Interrupt())
    before = first.points
    assert before[-1].step == 10
    assert second.points[: len(before)] == before
    assert second.points[-1].step == STEPS
    attempt(third, Interrupt())
    assert third.points == second.points, "no step was left to do"


def test_a_checkpoint_without_curves_is_gone_on_from(tmp_path: Path) -> None:
    config = Trainer(**TRAINER)
    with pytest.raises(Interrupted), checkpoints(tmp_path, print) as saved:
        train(network(), little(), config, CPU, lambda _: None, Stopping(10), checkpoints=saved)
    newest = max(tmp_path.glob("step-*.pt"))
    state = torch.load(newest, weights_only=True)
    del state["curves"]
    newest.unlink()
    torch.save(state, tmp_path / "earlier.pt")
    digest = checkpoint._digest((tmp_path / "earlier.pt").read_bytes())
    (tmp_path / "earlier.pt").rename(tmp_path / f"step-0000000010.{digest}.pt")
    recorded = Curves()
    with checkpoints(tmp_path, print) as saved:
        train(network(), little(), config, CPU, lambda _: None, Interrupt(), checkpoints=saved, curves=recorded)
    assert recorded.points[0].at > 10
    assert recorded.points[-1].step == STEPS


def test_the_manifest_has_the_curves_and_the_termination_message_has_not(digits_run: FinishedRun) -> None:
    curves = store.manifest(digits_run.root, "default", "digits", 1).curves
    assert curves is not None
    assert curves.epoch[-1] == 5
    assert curves.step is not None and curves.step[-1] == digits_run.message["progress"]["step"]
    assert curves.loss is not None and curves.loss[-1] is not None and curves.loss[-1] < 1
    assert curves.validation_loss is None
    assert "curves" not in json.dumps(digits_run.message)


def test_what_a_script_reports_of_its_epochs_is_its_curve(run_script: RunScript, tmp_path: Path) -> None:
    run_script(
        MODEL
        + """
    from trainserve.models import sdk
    run = sdk.start(epochs=2)
    run.epoch(1, loss=0.5, accuracy=0.9, samples=300, validation_loss=0.6, learning_rate=0.1)
    run.epoch(2, loss=0.25, accuracy=0.95, samples=300, validation_accuracy=torch.tensor(0.8))
    run.publish(model, images, labels)
"""
    )
    curves = store.manifest(tmp_path / "store", "default", "mine", 1).curves
    assert curves is not None
    assert (curves.epoch, curves.step) == ([1, 2], None)
    assert (curves.loss, curves.accuracy) == ([0.5, 0.25], [0.9, 0.95])
    assert (curves.validation_loss, curves.validation_accuracy) == ([0.6, None], [None, 0.8])
    assert curves.learning_rate == [0.1, None]
    assert curves.samples_per_second is not None and len(curves.samples_per_second) == 2


@pytest.mark.parametrize("leave", ["    run.publish(model, images, labels)\n", EXPORT])
def test_curves_that_cannot_be_written_cost_a_line_and_not_the_version(
    run_script: RunScript, tmp_path: Path, capfd: pytest.CaptureFixture[str], leave: str
) -> None:
    told = """
    from trainserve.models import sdk
    run = sdk.start()
    run._live.trained(epochs=None, share=None, samples=0, epoch=1.5)
"""
    assert run_script(MODEL + told + leave)["outcome"] == "Published"
    made = store.manifest(tmp_path / "store", "default", "mine", 1)
    assert made.curves is None
    assert store.REPORT in made.files
    (line,) = [line for line in capfd.readouterr().out.splitlines() if "curves: not published: " in line]
    assert "ValidationError" in line
    assert "what the script reported cannot be published" in (tmp_path / "store/default/mine/1/report.html").read_text()


def test_keras_own_validation_is_in_the_curve() -> None:
    from trainserve.models.energy import EnergyMeter
    from trainserve.models.progress import Progress
    from trainserve.models.rapl import Rapl
    from trainserve.models.script.keras_progress import FitProgress
    from trainserve.models.script.running import Running

    running = Running(Progress(), Interrupt(), EnergyMeter((), Rapl()))
    fit = FitProgress(running, 10, None)
    fit.params, fit.rate = (lambda: {"epochs": 1, "steps": 4}), lambda: 0.01
    fit.begins()
    fit.epoch_begins(0)
    for batch in range(4):
        fit.batch_ends(batch, {"loss": 0.5})
    fit.epoch_ends(0, {"loss": 0.25, "accuracy": 0.5, "val_loss": 0.75, "val_sparse_categorical_accuracy": 0.4})
    last = running.curves.points[-1]
    assert (last.epoch, last.step, last.loss, last.accuracy) == (1, 4, 0.25, 0.5)
    assert (last.validation_loss, last.validation_accuracy, last.learning_rate) == (0.75, 0.4, 0.01)


def test_a_run_of_one_step_has_a_curve_of_one_point(
    execute: Callable[[Config], dict[str, Any]], stripes: Callable[..., Path], tmp_path: Path
) -> None:
    execute(
        {
            "model": {"name": "convnet", "options": {"channels": 4, "hidden": 8}},
            "dataset": {"path": str(stripes())},
            "trainer": {"epochs": 1},
            "store": {"root": str(tmp_path / "store")},
            "output": {"model": "stripes"},
        }
    )
    curves = store.manifest(tmp_path / "store", "default", "stripes", 1).curves
    assert curves is not None and len(curves.epoch) == 1
    assert (tmp_path / "store/default/stripes/1/report.html").exists()
