"""Labels and class names of arrays in the forms that users write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainserve.models.data import labels
from trainserve.models.data.roles import Roles, roles
from trainserve.models.errors import DataError

from .data_files import load, told

NUMBERS = np.arange(60) % 3
X = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)


def saved(path: Path, **arrays: Any) -> str:
    np.savez(path / "set.npz", **arrays)
    return str(path / "set.npz")


def together(dataset: Any) -> list[tuple[bytes, str]]:
    """Return each image with its class name, sorted."""
    parts = ((dataset.train_images, dataset.train_targets), (dataset.test_images, dataset.test_targets))
    return sorted(
        (image.tobytes(), dataset.labels[target])
        for images, targets in parts
        for image, target in zip(images, targets, strict=True)
    )


@pytest.mark.parametrize(
    ("y", "names"),
    [
        (NUMBERS[:, None], ["0", "1", "2"]),
        (np.eye(3, dtype=np.uint8)[NUMBERS], ["0", "1", "2"]),
        (np.eye(3)[NUMBERS], ["0", "1", "2"]),
        (NUMBERS + 1, ["1", "2", "3"]),
        ((NUMBERS + 1).astype(np.uint8)[:, None], ["1", "2", "3"]),
        (np.array([7, 40, 300])[NUMBERS], ["7", "40", "300"]),
        (np.array(["ant", "bee", "cow"])[NUMBERS], ["ant", "bee", "cow"]),
        (np.array([w.encode() for w in ("ant", "bee", "kärp")])[NUMBERS][:, None], ["ant", "bee", "kärp"]),
    ],
)
def test_labels_are_classes_in_their_order_and_keep_their_names(tmp_path: Path, y: Any, names: list[str]) -> None:
    dataset = load(path=saved(tmp_path, x=X, y=y))
    assert dataset.labels == names
    assert together(dataset) == sorted((X[row].tobytes(), names[number]) for row, number in enumerate(NUMBERS))


@pytest.mark.parametrize(
    ("y", "names"), [(NUMBERS == 1, ["False", "True"]), (np.where(NUMBERS == 1, 1, -1), ["-1", "1"])]
)
def test_labels_of_two_kinds_are_two_classes(tmp_path: Path, y: Any, names: list[str]) -> None:
    dataset = load(path=saved(tmp_path, x=X, y=y))
    assert dataset.labels == names
    assert np.bincount([*dataset.train_targets, *dataset.test_targets]).tolist() == [40, 20]


def test_labels_that_do_not_begin_at_0_are_told(tmp_path: Path) -> None:
    _, said = told(path=saved(tmp_path, x=X, y=NUMBERS + 1))
    assert said == ["data: labels do not begin at 0: their 3 values become classes 0..2, named 1, 2, 3"]


def test_both_parts_are_numbered_alike(tmp_path: Path) -> None:
    words = np.array(["cow", "ant", "bee"])
    file = saved(tmp_path, x_train=X, y_train=words[NUMBERS], x_test=X[:2], y_test=words[[2, 0]])
    dataset = load(path=file)
    assert dataset.labels == ["ant", "bee", "cow"]
    assert [dataset.labels[target] for target in dataset.test_targets] == ["bee", "cow"]


def test_a_word_that_only_the_test_part_has_is_named(tmp_path: Path) -> None:
    words = np.array(["ant", "bee", "cow"])[NUMBERS]
    file = saved(tmp_path, x=X, y=words, x_test=X[:1], y_test=np.array(["emu"]))
    with pytest.raises(DataError, match=r"y_test: 'emu' is none of the 3 classes of the training part: ant, bee, cow"):
        load(path=file)


def test_a_class_of_the_list_without_samples_is_a_warning(tmp_path: Path) -> None:
    dataset, said = told(path=saved(tmp_path, x=X, y=np.arange(60) % 2 * 2))
    assert dataset.labels == ["0", "1", "2"]
    assert said == ["data: warning: 1 of 3 classes have no samples, and will not be recognised: 1"]


def test_names_of_classes_lie_beside_the_labels(tmp_path: Path) -> None:
    names = np.array(["ant", "bee", "cow", "dog"])
    dataset, said = told(path=saved(tmp_path, x=X, y=NUMBERS, class_names=names))
    assert dataset.labels == ["ant", "bee", "cow", "dog"]
    assert said[0] == "data: arrays x with y; class_names names the classes"


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(0, 40))
def test_renumbered_labels_keep_their_names(values: list[int], divided: int) -> None:
    parts = [np.array(values[:divided], np.int64), np.array(values[divided:], np.int64)]
    found = labels.classes(parts, ["train", "test"])
    assert [found.names[number] for part in found.parts for number in part] == [str(value) for value in values]
    assert found.names == sorted(found.names, key=int)


@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1), min_size=1))
def test_words_keep_their_order_whatever_order_they_come_in(words: list[str]) -> None:
    found, turned = (labels.classes([np.array(each)], ["train"]) for each in (words, words[::-1]))
    assert found.names == turned.names == sorted({*words})
    assert [found.names[number] for number in found.parts[0]] == words


NAMED = [
    ("x_train", "y_train", "x_test", "y_test"),
    ("X_train", "Y_train", "X_test", "Y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("trainX", "trainY", "testX", "testY"),
    ("images", "labels", "images_test", "labels_test"),
    ("data", "target", "test_data", "test_target"),
    ("train_data", "train_targets", "eval_data", "eval_targets"),
    ("Xtr", "ytr", "Xte", "yte"),
    ("image", "label", "image-test", "label-test"),
    ("arr_0", "arr_1", "arr_2", "arr_3"),
]


@pytest.mark.parametrize("names", NAMED, ids=[names[0] for names in NAMED])
def test_usual_names_of_arrays_are_known(tmp_path: Path, names: tuple[str, ...]) -> None:
    dataset, said = told(path=saved(tmp_path, **dict(zip(names, (X, NUMBERS, X[:6], NUMBERS[:6]), strict=True))))
    assert np.array_equal(dataset.train_images[..., 0], X)
    assert np.array_equal(dataset.train_targets, NUMBERS)
    assert np.array_equal(dataset.test_images[..., 0], X[:6])
    assert said == [f"data: arrays {names[0]} with {names[1]}, {names[2]} with {names[3]}"]


@pytest.mark.parametrize("large", [False, True])
def test_pytorchs_order_of_axes_is_known_where_it_can_be_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    monkeypatch.setenv("TRAINSERVE_CACHE", str(tmp_path / "cache"))
    for module in ("arrays", "npz") if large else ():
        monkeypatch.setattr(f"trainserve.models.data.{module}.LARGE", 100)
    x = np.random.default_rng(0).normal(size=(60, 3, 8, 9)).astype(np.float32)
    dataset, said = told(path=saved(tmp_path, x=x, y=NUMBERS, x_test=x[:6], y_test=NUMBERS[:6]))
    assert np.array_equal(dataset.train_images, x.transpose(0, 2, 3, 1))
    assert np.array_equal(dataset.test_images, x[:6].transpose(0, 2, 3, 1))
    assert said == ["data: x (60, 3, 8, 9) is taken as (N, C, H, W); the model takes (N, 8, 9, 3)"]
    assert load(path=saved(tmp_path, x=x[:, :, :4], y=NUMBERS)).shape == (3, 4, 9)


def test_a_validation_part_of_arrays_is_the_test_part_where_there_is_no_other(tmp_path: Path) -> None:
    arrays = {"train_images": X, "train_labels": NUMBERS[:, None], "val_images": X[:9], "val_labels": NUMBERS[:9, None]}
    dataset, said = told(path=saved(tmp_path, **arrays))
    assert len(dataset.test_images) == 9
    assert said[1] == "data: val_images (9 samples) is the test part: the model is evaluated and gated on it"
    dataset, said = told(path=saved(tmp_path, **arrays, test_images=X[:6], test_labels=NUMBERS[:6, None]))
    assert len(dataset.test_images) == 6
    assert said[1].endswith("; val_images (9 samples) is not used")


def test_of_several_candidates_the_one_whose_shape_can_be_it_is_taken() -> None:
    bunch = {"data": (1797, 64), "images": (1797, 8, 8), "target": (1797,), "target_names": (10,)}
    assert roles(bunch) == Roles({"train": "images"}, {"train": "target"}, "target_names")
    assert roles({"x": (60, 8, 8), "images": (60, 8, 8), "y": (60,), "labels": (3,)}).told() == []


@given(st.dictionaries(st.text(max_size=12), st.lists(st.integers(0, 9), max_size=5).map(tuple), max_size=8))
def test_roles_are_arrays_that_are_there(shapes: dict[str, tuple[int, ...]]) -> None:
    assert roles(shapes).read() <= shapes.keys()


def test_what_is_read_of_a_large_file_is_copied_out_under_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINSERVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("trainserve.models.data.npz.LARGE", 100)
    dataset = load(path=saved(tmp_path, **{"../../x_train": X, "y_train": NUMBERS}))
    assert together(dataset) == sorted((X[row].tobytes(), str(number)) for row, number in enumerate(NUMBERS))
    assert sorted(path.name for path in tmp_path.glob("cache/unpacked-*/*")) == ["0.npy", "1.npy"]
