"""Data sets: their contents, their splits, and the message for an invalid file."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trainserve.models import data
from trainserve.models.config import load as load_config
from trainserve.models.data.arrays import dataset
from trainserve.models.data.cache import Cache
from trainserve.models.data.dataset import split
from trainserve.models.data.digits import bilinear
from trainserve.models.data.source import Part, Source
from trainserve.models.data.watch import Watch
from trainserve.models.errors import DataError

from .data_files import load

Write = Callable[..., Path]


def test_digits_are_scikit_learns_upsampled() -> None:
    from sklearn.datasets import load_digits

    digits = load(name="digits")
    assert digits.shape == (28, 28, 1)
    assert digits.train_images.dtype == np.uint8
    assert digits.labels == list("0123456789")
    original = load_digits()
    everything = np.concatenate([digits.train_targets, digits.test_targets])
    assert np.bincount(everything).tolist() == np.bincount(original.target).tolist()
    images = np.concatenate([digits.train_images, digits.test_images])[..., 0].astype(float)
    assert images.mean() == pytest.approx(original.images.mean() * 255 / 16, rel=0.02)
    assert images.max() == 255


IMPORTS = """
import sys
from trainserve.api import catalogue
from trainserve.models import data
assert tuple(catalogue.DATASETS) == ("digits", "fashion-mnist", "synthetic")
assert not {"numpy", "torch"} & sys.modules.keys(), "the names are known before"
from trainserve.models.config import parse
data.load(parse({"model": {"name": "convnet"}, "dataset": {"name": "digits"}}).dataset, 0)
heavy = {"torch", "PIL", "pyarrow", "fsspec", "aiohttp", "sklearn", "rich"} & sys.modules.keys()
assert not heavy, heavy
"""


def test_what_a_data_set_does_not_need_is_not_imported() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_bilinear_weights_keep_constant_and_straight_lines() -> None:
    weights = bilinear(8, 28)
    assert weights.sum(axis=1) == pytest.approx(np.ones(28))
    line = weights @ np.arange(8, dtype=np.float32)
    assert np.diff(line)[3:-3] == pytest.approx(np.full(21, 8 / 28), abs=1e-5)
    assert (line[0], line[-1]) == (0, 7)


def test_the_split_depends_on_the_seed_alone() -> None:
    first, again, other = load(name="digits"), load(name="digits"), load(name="digits", seed=1)
    assert np.array_equal(first.train_images, again.train_images)
    assert not np.array_equal(first.train_targets, other.train_targets)


def test_the_share_of_the_test_split_is_as_asked() -> None:
    digits = load(name="digits", split={"test": 0.5})
    assert len(digits.test_images) == pytest.approx(1797 / 2, abs=10)


@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    test=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_split_divides_every_class_and_loses_nothing(labels: list[int], test: float, seed: int) -> None:
    array = np.array(labels)
    train, held_out = split(array, test, seed)
    assert sorted([*train, *held_out]) == list(range(len(labels)))
    for label in set(labels):
        members = labels.count(label)
        assert int((array[held_out] == label).sum()) == int(members * test)
        assert int((array[train] == label).sum()) >= 1


def test_an_npz_with_a_test_part_of_its_own_is_taken_as_it_is(stripes: Write) -> None:
    x_test, y_test = np.zeros((4, 8, 8), dtype=np.uint8), np.array([0, 1, 2, 0])
    dataset = load(path=str(stripes(x_test=x_test, y_test=y_test)))
    assert (len(dataset.train_images), len(dataset.test_images)) == (60, 4)
    assert dataset.shape == (8, 8, 1)
    assert dataset.labels == ["0", "1", "2"]


def test_images_are_normalised_over_the_training_split(stripes: Write) -> None:
    x = np.random.default_rng(0).integers(0, 256, (600, 5, 6, 3)).astype(np.uint8)
    x[..., 2] = 7
    dataset = load(path=str(stripes(x=x, y=np.arange(600) % 3)))
    normalisation = dataset.normalisation()
    scaled = dataset.train_images / 255
    assert normalisation.mean == pytest.approx(scaled.mean(axis=(0, 1, 2)))
    assert normalisation.std[:2] == pytest.approx(scaled.std(axis=(0, 1, 2))[:2])
    assert normalisation.std[2] == pytest.approx(1.0, abs=1e-6) or normalisation.std[2] == 1.0


def test_the_values_of_a_regression_are_split_by_the_share(stripes: Write) -> None:
    y = np.random.default_rng(0).normal(size=(60, 2))
    dataset = load(path=str(stripes(y=y)), task="regression", split={"test": 0.25})
    assert (dataset.train_targets.shape, dataset.test_targets.shape) == ((45, 2), (15, 2))
    assert (dataset.task, dataset.labels, dataset.train_targets.dtype) == (
        "regression",
        ["0", "1"],
        np.dtype(np.float32),
    )
    both = np.concatenate([dataset.train_targets, dataset.test_targets])
    assert np.array_equal(np.sort(both, axis=0), np.sort(y.astype(np.float32), axis=0))


def test_one_value_a_sample_may_be_flat(stripes: Write) -> None:
    dataset = load(path=str(stripes(y=np.linspace(0, 1, 60))), task="regression")
    assert dataset.train_targets.shape == (48, 1)


def test_arrays_are_resized_too(stripes: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINSERVE_CACHE", str(tmp_path / "cache"))
    x = np.arange(60, dtype=np.float32)[:, None, None, None] * np.ones((60, 8, 10, 2), np.float32)
    dataset = load(path=str(stripes(x=x)), size=[16, 5])
    assert dataset.shape == (16, 5, 2)
    assert sorted(dataset.test_images.max(axis=(1, 2, 3))) == pytest.approx(sorted(dataset.test_images[:, 3, 2, 1]))


def test_arrays_get_the_channels_of_the_mode_that_is_asked_for(stripes: Write) -> None:
    assert load(name="digits", mode="rgb").shape == (28, 28, 3)
    x = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    colour, grey = (load(path=str(stripes(x=x)), mode=mode) for mode in ("auto", "grey"))
    as_pillow = np.asarray(Image.fromarray(colour.train_images[0]).convert("L"))
    assert (grey.shape, colour.shape) == ((8, 8, 1), (8, 8, 3))
    assert np.abs(grey.train_images[0, ..., 0].astype(int) - as_pillow).max() <= 1
    with pytest.raises(DataError, match=r"stripes\.npz: 2 channels; dataset\.mode: grey needs 1 or 3"):
        load(path=str(stripes(x=x[..., :2])), mode="grey")


def test_a_large_file_is_unpacked_and_mapped(stripes: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINSERVE_CACHE", str(tmp_path / "cache"))
    x = np.random.default_rng(0).normal(size=(60, 8, 8))
    small = load(path=str(stripes(x=x)))
    for module in ("arrays", "npz"):
        monkeypatch.setattr(f"trainserve.models.data.{module}.LARGE", 100)
    large = load(path=str(stripes(x=x)))
    assert isinstance(large.train_images, np.memmap)
    for name in ("train_images", "train_targets", "test_images", "test_targets"):
        assert np.array_equal(getattr(large, name), getattr(small, name))
    again = load(path=str(stripes(x=x + 1)))
    assert not np.array_equal(again.train_images, large.train_images)


BAD_REGRESSIONS: list[tuple[dict[str, Any], str]] = [
    ({"y": np.arange(60)}, r"y is int64; must be floats in a regression"),
    ({"y": np.zeros((60, 1, 1))}, r"y has shape \(60, 1, 1\); must be \(N,\) or \(N, K\) in a regression"),
    ({"y": np.zeros((60, 0))}, r"y has shape \(60, 0\); must be"),
    ({"y": np.where(np.arange(60) == 7, np.nan, 0)}, r"y holds values that are not finite numbers, .* in sample 7"),
    (
        {"y": np.zeros((60, 2)), "x_test": np.zeros((2, 8, 8), np.uint8), "y_test": np.zeros((2, 3))},
        r"y_test has 3 values a sample and y has 2; must be equal",
    ),
]


@pytest.mark.parametrize(("arrays", "text"), BAD_REGRESSIONS, ids=[text[:40] for _, text in BAD_REGRESSIONS])
def test_bad_values_are_refused_with_the_files_name(stripes: Write, arrays: dict[str, Any], text: str) -> None:
    path = stripes(**arrays)
    with pytest.raises(DataError, match=f"^{path}: {text}"):
        load(path=str(path), task="regression")


def test_of_a_large_split_a_part_is_measured_evenly_over_it(stripes: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(np.arange(3000)[:, None, None], 1, (3000, 8, 8))
    dataset = load(path=str(stripes(x=x, y=np.arange(3000) % 3)))
    monkeypatch.setattr("trainserve.models.data.dataset._CHUNK", 640)
    whole = dataset.normalisation()
    monkeypatch.setattr("trainserve.models.data.dataset.MEASURED", 20_000)
    part = dataset.normalisation()
    assert part != whole
    assert part.mean == pytest.approx(whole.mean, rel=0.05)
    assert part.std == pytest.approx(whole.std, rel=0.05)


UINT8 = np.uint8
BAD: list[tuple[dict[str, Any], str]] = [
    ({"x": None}, r"array 'x' \(or x_train, train_images, images, data\) is missing; there are: y int64 \(60,\)$"),
    ({"y": None}, r"array 'y' \(or y_train, train_labels, labels, target\) is missing; there are: x uint8 \("),
    (
        {"x_test": np.zeros((2, 8, 8), UINT8)},
        r"the test part needs both images and labels; there are: x uint8 .*, x_test uint8 .*, y",
    ),
    ({"x": np.zeros((60, 8), UINT8)}, r"x has shape \(60, 8\); must be \(N, H, W\) or \(N, H, W, C\)"),
    ({"x": np.zeros((60, 8, 8, 1, 1), UINT8)}, r"x has shape \(60, 8, 8, 1, 1\); must be"),
    ({"x": np.zeros((60, 0, 8), UINT8)}, r"x has shape \(60, 0, 8\); must be"),
    ({"x": np.zeros((60, 8, 8), np.int32)}, r"x is int32; must be uint8 or float"),
    ({"x": np.full((60, 8, 8), np.nan)}, r"x holds values that are not finite numbers"),
    ({"x": np.full((60, 8, 8), 1e300)}, r"x holds values that are not finite numbers"),
    ({"y": np.zeros(59, int)}, r"x has 60 samples and y has 59; must be equal"),
    ({"y": np.ones((60, 2), int)}, r"y has shape \(60, 2\); must be \(N,\), \(N, 1\) or one-hot \(N, K\)"),
    ({"y": np.zeros(60)}, r"y is float64; must be integers or strings in a classification"),
    ({"y": np.arange(60) - 1}, r"y, row 0: label -1 is negative; must be 0 or more"),
    ({"y": np.arange(60) * 10**12}, r"y: label 59000000000000 is outside 0\.\.59"),
    ({"x": np.zeros((0, 8, 8), UINT8), "y": np.zeros(0, int)}, r"0 samples in x; at least 1 is needed"),
    (
        {"x_test": np.zeros((2, 8, 8), UINT8), "y_test": np.array([0, 3])},
        r"class 3 is missing from the training split \(4 classes\)",
    ),
    ({"y": np.zeros(60, int)}, r"only class 0 occurs; at least 2 classes are needed"),
    ({"y": np.arange(60)}, r"0 samples in the test split; at least 1 is needed"),
    (
        {"x_test": np.zeros((2, 9, 8), UINT8), "y_test": np.array([0, 1])},
        r"x_test is uint8 of \(9, 8, 1\) and x is uint8 of \(8, 8, 1\); must be equal",
    ),
    (
        {"x_test": np.zeros((0, 8, 8), UINT8), "y_test": np.zeros(0, int)},
        r"0 samples in x_test; at least 1 is needed",
    ),
    ({"x": np.array([{}] * 60)}, r"x holds Python objects, which are never unpickled; save numbers or text"),
]


@pytest.mark.parametrize(("arrays", "text"), BAD, ids=[text[:40] for _, text in BAD])
def test_a_bad_npz_is_refused_with_the_files_name(stripes: Write, arrays: dict[str, Any], text: str) -> None:
    path = stripes(**arrays)
    with pytest.raises(DataError, match=f"^{path}: {text}"):
        load(path=str(path))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.npz: No such file or directory"):
        load(path=str(tmp_path / "absent.npz"))


@pytest.mark.parametrize(("images", "text"), [(9, "9 images, and 10 targets"), (11, "more than 10 images, and 10")])
def test_a_source_that_has_not_an_image_for_each_target_is_named(tmp_path: Path, images: int, text: str) -> None:
    pixels = np.zeros((images, 8, 8, 1), np.uint8)
    part = Part(np.arange(10) % 2, lambda: iter([pixels[:5], pixels[5:]]))
    source = Source("pets", "pets.parquet", (8, 8, 1), pixels.dtype, ["0", "1"], "classification", part, None, "")
    with pytest.raises(DataError, match=f"^pets.parquet: {text}"):
        dataset(source, 0.2, 0, Cache(Watch(), tmp_path))


def test_a_relative_path_is_one_below_the_configs_folder(stripes: Write, tmp_path: Path) -> None:
    stripes()
    (tmp_path / "config.json").write_text('{"model": {"name": "convnet"}, "dataset": {"path": "stripes.npz"}}')
    config = load_config(tmp_path / "config.json")
    assert data.load(config.dataset, 0, folder=config.folder).name == "stripes"
    with pytest.raises(DataError, match=r"^stripes\.npz: No such file or directory"):
        data.load(config.dataset, 0)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"\x93NUMPY"])
def test_a_file_that_is_no_npz_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"data\.npz: truncated, or not an \.npz file"):
        load(path=str(path))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_named(stripes: Write, share: float) -> None:
    path = stripes()
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=f"^{path}: "):
        load(path=str(path))


@settings(max_examples=300)
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_an_error_or_harmless_never_a_crash(
    tmp_path_factory: pytest.TempPathFactory, position: float, bit: int
) -> None:
    path = tmp_path_factory.mktemp("flip") / "data.npz"
    y = np.arange(30) % 3
    np.savez_compressed(path, x=np.zeros((30, 4, 4), UINT8), y=y)
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 1 << bit
    path.write_bytes(content)
    try:
        dataset = load(path=str(path))
    except DataError as error:
        assert str(error).startswith(str(path))
    else:
        assert len(dataset.train_images) + len(dataset.test_images) == 30


def test_images_too_small_for_the_model_are_named() -> None:
    from trainserve.models import zoo

    with pytest.raises(DataError, match="images of 3x8 are too small for convnet; at least 4x4 is needed"):
        zoo.build("convnet", {}, (3, 8, 1), 2)


def test_arrays_that_claim_more_than_is_allowed_are_refused_before_they_are_read(
    stripes: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stripes()
    monkeypatch.setenv("TRAINSERVE_LIMITS", '{"dataset": "1Ki"}')
    with pytest.raises(DataError, match=r"its arrays take .* MiB; at most 0\.000977 MiB are allowed"):
        load(path=str(path))
