"""The classic Keras script of the tutorials: watched, exported, checked and published without any change."""

import gzip
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainserve import store
from trainserve.models.data.cache import Cache
from trainserve.models.data.watch import Watch
from trainserve.models.energy import EnergyMeter
from trainserve.models.errors import UserError
from trainserve.models.interrupt import Interrupt
from trainserve.models.progress import Progress
from trainserve.models.rapl import Rapl
from trainserve.models.script import keras_data, keras_model
from trainserve.models.script.keras import Given
from trainserve.models.script.keras_progress import FitProgress, accuracy
from trainserve.models.script.running import Running

from .conftest import Pod

SCRIPT = Path(__file__).parents[2] / "examples/keras/train.py"
TRAIN, TEST = 1280, 320


def mean_squared_error(truth: Any, given: Any) -> None:
    """A loss function named as Keras names its own."""


class Loss:
    name = "binary_crossentropy"


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("mse", "regression"),
        ("MeanSquaredError", "regression"),
        ("mean_absolute_percentage_error", "regression"),
        ("huber", "regression"),
        (mean_squared_error, "regression"),
        ("binary_crossentropy", None),
        (Loss(), None),
        (None, None),
        ("squared_hinge", None),
    ],
)
def test_a_loss_of_numbers_says_that_it_is_a_regression(loss: Any, expected: str | None) -> None:
    assert keras_model.task(loss) == expected


@pytest.fixture(scope="module")
def keras_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Keras home with a small data set in place of Fashion-MNIST: class c has a bright pair of rows c."""
    home = tmp_path_factory.mktemp("keras")
    folder = home / "datasets/fashion-mnist"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, count in (("train", TRAIN), ("t10k", TEST)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = random.integers(0, 80, (count, 28, 28), dtype=np.uint8)
        for row in (0, 1):
            images[np.arange(count), 2 * labels + row] = 255
        for kind, array in (("labels-idx1", labels), ("images-idx3", images)):
            header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes(), 1))
    return home


@dataclass(frozen=True)
class KerasRun:
    root: Path
    message: dict[str, Any]
    stdout: str
    while_training: dict[str, Any]


@pytest.fixture(scope="module")
def keras_run(keras_home: Path, start_pod: Callable[..., Pod], tmp_path_factory: pytest.TempPathFactory) -> KerasRun:
    """The example's script itself, run on the small data set."""
    root = tmp_path_factory.mktemp("store")
    pod = start_pod(
        {
            "store": {"root": str(root)},
            "model": {"script": str(SCRIPT)},
            "gates": {"minAccuracy": 0.9},
            "output": {"model": "clothes"},
        },
        KERAS_HOME=str(keras_home),
    )
    training = pod.wait_for(lambda progress: progress.get("step", 0) > 0)
    code, out, err = pod.finish()
    assert code == 0, err
    return KerasRun(root, pod.message, out, training)


def test_the_script_publishes_and_its_accuracy_is_what_it_printed(keras_run: KerasRun) -> None:
    assert keras_run.message["outcome"] == "Published"
    printed = next(line for line in keras_run.stdout.splitlines() if line.startswith("Test accuracy:"))
    assert keras_run.message["result"]["accuracy"] == pytest.approx(float(printed.split()[-1]), abs=1e-6)
    assert keras_run.message["result"]["accuracy"] > 0.9


def test_fit_is_its_progress(keras_run: KerasRun) -> None:
    progress = keras_run.while_training
    assert progress["epochs"] == 5
    assert 1 <= progress["epoch"] <= 5
    assert 0 <= progress["percent"] <= 90
    assert progress["loss"] > 0
    assert 0 <= progress["accuracy"] <= 1
    assert progress["samplesPerSecond"] > 0
    assert keras_run.message["progress"]["step"] == 5 * TRAIN // 64


def test_the_graph_takes_what_the_script_gave_evaluate(keras_run: KerasRun) -> None:
    made = store.manifest(keras_run.root, "default", "clothes", 1)
    assert made.inputs == [store.Tensor(name="images", dtype="float32", shape=[-1, 28, 28, 1])]
    assert made.outputs == [store.Tensor(name="probabilities", dtype="float32", shape=[-1, 10])]
    assert made.preprocessing == store.Preprocessing(scale=1.0, mean=[0.0], std=[1.0])
    assert (made.parity.samples, made.parity.reference) == (256, "pytorch")
    assert made.parity.max_abs is not None and made.parity.max_abs < 1e-4
    with np.load(keras_run.root / "default/clothes/1/samples.npz") as samples:
        assert (samples["probabilities"].argmax(axis=1) == samples["labels"]).mean() > 0.9


def test_a_log_has_a_line_per_epoch_instead_of_a_bar(keras_run: KerasRun) -> None:
    assert "\b" not in keras_run.stdout
    assert "\x1b" not in keras_run.stdout
    assert "Epoch 5/5\n20/20 - " in keras_run.stdout


def test_files_that_keras_has_already_are_left_alone(keras_home: Path, tmp_path: Path) -> None:
    keras_data.stage(keras_home / "datasets/fashion-mnist", Cache(Watch(), tmp_path / "nothing-was-fetched"))
    assert not (tmp_path / "nothing-was-fetched").exists()


@pytest.mark.parametrize(
    ("logs", "share"),
    [
        ({"loss": 1.0, "accuracy": 0.5, "val_accuracy": 0.1}, 0.5),
        ({"sparse_categorical_accuracy": 0.25}, 0.25),
        ({"acc": 0.75, "sparse_top_k_categorical_accuracy": 1.0}, 0.75),
        ({"loss": 1.0, "mae": 2.0}, None),
    ],
)
def test_the_accuracy_is_found_among_keras_metrics(logs: dict[str, float], share: float | None) -> None:
    assert accuracy(logs) == share


def test_progress_counts_over_epochs_and_a_second_fit_begins_anew() -> None:
    progress = Progress()
    running = Running(progress, Interrupt(), EnergyMeter((), Rapl()))
    for _ in range(2):
        fit = FitProgress(running, 10, None)
        fit.params = lambda: {"epochs": 2, "steps": 4}
        fit.begins()
        for epoch in range(2):
            fit.epoch_begins(epoch)
            for batch in range(4):
                fit.batch_ends(batch, {"loss": 0.5})
            fit.epoch_ends(epoch, {"loss": 0.25, "accuracy": 0.5})
    state = progress.state
    assert (state.epoch, state.epochs, state.step, state.percent, state.loss) == (2, 2, 8, 90, 0.25)
    assert state.samples == 160


class Batches(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return 5

    def __getitem__(self, number: int) -> Any:
        return torch.full((2,), float(number)), number


def test_samples_are_read_again_from_a_loader() -> None:
    loader = torch.utils.data.DataLoader(Batches(), batch_size=2)
    left = keras_model.left(Given(torch.nn.Linear(2, 3), loader, None, held_out=True), None)
    assert left.inputs.tolist() == [[0, 0], [1, 1], [2, 2], [3, 3], [4, 4]]
    assert left.targets.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("x", "y", "complaint"),
    [
        (iter([]), None, "evaluate was given a list_iterator, which can be read only once"),
        ({"a": np.zeros(3)}, np.zeros(3), "x holds several arrays"),
    ],
)
def test_samples_that_cannot_be_read_are_refused(x: Any, y: Any, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        keras_model.left(Given(torch.nn.Linear(2, 3), x, y, held_out=True), None)


HALVED = """
import keras, torch
from trainserve.models.script.keras_model import KerasBody
model = keras.Sequential(
    [keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3), keras.layers.Flatten(), keras.layers.Dense(3, "softmax")]
)
images = torch.rand(5, 8, 8, 1)
whole = KerasBody(model)(images)
half = KerasBody(model).half()(images.half())
assert half.dtype == torch.float16
assert 0 < (half.float() - whole).abs().max() < 1e-2
"""


def test_a_keras_model_can_be_halved() -> None:
    """Runs in a separate process: Keras imported in this process is not watched."""
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    subprocess.run([sys.executable, "-c", HALVED], env=environment, check=True, timeout=300)
