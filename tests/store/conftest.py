"""A small version to publish: real files, no torch."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from trainserve import store

MODEL_BYTES = b"onnx" * 20_000


def make_draft(uid: str | None = None) -> store.ManifestDraft:
    return store.ManifestDraft(
        opset=18,
        ir_version=10,
        inputs=[store.Tensor(name="images", dtype="uint8", shape=[-1, 28, 28, 1])],
        outputs=[store.Tensor(name="probabilities", dtype="float32", shape=[-1, 10])],
        labels=[str(digit) for digit in range(10)],
        preprocessing=store.Preprocessing(scale=1 / 255, mean=[0.0], std=[1.0]),
        metrics=store.Metrics(accuracy=0.97, loss=0.1),
        parity=store.Parity(max_abs=1e-7, max_rel=1e-6, rtol=1e-3, atol=1e-5, samples=256),
        train_job=store.TrainJobRef(name="digits", uid=uid),
        spec={"trainer": {"epochs": 5}},
    )


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "scratch"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(MODEL_BYTES)
    (folder / "samples.npz").write_bytes(b"samples" * 1000)
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def draft() -> store.ManifestDraft:
    return make_draft()


@pytest.fixture
def publish(files: dict[str, Path], root: Path) -> Callable[..., store.Published]:
    return partial(publish_files, files, root)


def publish_files(
    files: dict[str, Path], to: Path, uid: str | None = None, model: str = "digits", root: Path | str | None = None
) -> store.Published:
    """Publish `files` in the store at `root`, by default `to`. At module level, so that children can be given it."""
    return store.publish(to if root is None else root, "default", model, files, make_draft(uid))
