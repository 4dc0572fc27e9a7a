"""Parquet: images as bytes or as Hugging Face writes them, with class or value columns, and invalid files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainserve.models.errors import DataError, UserError

from .data_files import encoded, load, parquet, picture

COUNT = 40
LABELS = [number % 2 for number in range(COUNT)]
PNGS = [encoded(picture(number, label)) for number, label in enumerate(LABELS)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAINSERVE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pixels(number: int) -> Any:
    return np.asarray(picture(number, LABELS[number]))


def test_bytes_and_labels_are_read_exactly(tmp_path: Path) -> None:
    dataset = load(path=str(parquet(tmp_path / "pets.parquet", PNGS, LABELS)))
    assert (dataset.name, dataset.shape, dataset.labels) == ("pets", (8, 8, 1), ["0", "1"])
    assert (len(dataset.train_images), len(dataset.test_images)) == (32, 8)
    found = {image.tobytes(): label for image, label in zip(dataset.train_images, dataset.train_targets, strict=True)}
    found |= {image.tobytes(): label for image, label in zip(dataset.test_images, dataset.test_targets, strict=True)}
    assert found == {pixels(number).tobytes(): LABELS[number] for number in range(COUNT)}


def test_hugging_faces_files_bring_names_and_a_test_part(tmp_path: Path) -> None:
    images = [{"bytes": content, "path": f"{number}.png"} for number, content in enumerate(PNGS)]
    features = {"img": {"_type": "Image"}, "fine": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    table = pa.table({"img": images, "fine": LABELS})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    for name, start in (("train-00000-of-00002", 0), ("train-00001-of-00002", 20), ("test-00000-of-00001", 30)):
        pq.write_table(table.slice(start, 20), tmp_path / f"{name}.parquet")
    columns = {"image": "img", "label": "fine"}
    dataset = load(path=str(tmp_path), format="parquet", options=columns)
    assert dataset.labels == ["cat", "dog"]
    assert (len(dataset.train_images), len(dataset.test_images)) == (40, 10)
    assert all(np.array_equal(dataset.train_images[number, ..., 0], pixels(number)) for number in range(COUNT))


def test_a_float_column_is_what_a_regression_learns(tmp_path: Path) -> None:
    values = [number / 10 for number in range(COUNT)]
    path = parquet(tmp_path / "ages.parquet", PNGS, values, label="age")
    dataset = load(path=str(path), task="regression", options={"label": "age"})
    assert (dataset.task, dataset.labels) == ("regression", ["age"])
    assert (dataset.train_targets.shape, dataset.train_targets.dtype) == ((32, 1), np.dtype(np.float32))
    both = np.concatenate([dataset.train_targets, dataset.test_targets])[:, 0]
    assert sorted(both.tolist()) == pytest.approx(values)


BAD: list[tuple[list[Any], list[Any], dict[str, Any], str]] = [
    (PNGS, LABELS, {"options": {"image": "img"}}, r": column 'img' is missing; set .*image to one of: image, label"),
    (PNGS, ["cat"] * COUNT, {}, r": only class 0 occurs; at least 2 classes are needed"),
    (PNGS, [0.5] * COUNT, {}, r": column 'label' is double; must be integers or strings in a classification"),
    (PNGS, LABELS, {"task": "regression"}, r": column 'label' is int64; must be floats in a regression"),
    (LABELS, LABELS, {}, r": column 'image' is int64; must be binary, or a struct of bytes and path"),
    (PNGS, [None, *LABELS[1:]], {}, r": column 'label': 1 values are null; must be 0"),
    (PNGS, [0, -3, *LABELS[2:]], {}, r": column 'label', row 1: label -3 is negative; must be 0 or more"),
    (PNGS, [99, *LABELS[1:]], {}, r": column 'label': label 99 is outside 0\.\.39"),
    (PNGS, [0.5, float("nan")] * 20, {"task": "regression"}, r": column 'label', row 1: nan is not a finite number"),
    ([*PNGS[:30], None, *PNGS[31:]], LABELS, {}, r", row 30: no image; column 'image' must hold its bytes"),
    (
        [*PNGS[:30], b"GIF89a", *PNGS[31:]],
        LABELS,
        {},
        r", row 30: not a picture that can be read .*: it begins as a GIF does, and is truncated or damaged",
    ),
    ([*PNGS[:30], PNGS[30][:60], *PNGS[31:]], LABELS, {}, r", row 30: "),
    (
        [*PNGS[:30], encoded(picture(0, 0, "L", (9, 9))), *PNGS[31:]],
        LABELS,
        {},
        r", row 30: 9x9 pixels, and .*, row 0 has 8x8; must be equal, or set dataset\.size",
    ),
]


@pytest.mark.parametrize(("images", "targets", "fields", "text"), BAD, ids=[row[3][:50] for row in BAD])
def test_a_bad_file_is_refused_with_its_name_and_the_row(
    tmp_path: Path, cache: Path, images: list[Any], targets: list[Any], fields: dict[str, Any], text: str
) -> None:
    path = parquet(tmp_path / "pets.parquet", images, targets)
    with pytest.raises(DataError, match=f"^{path}{text}"):
        load(path=str(path), **fields)
    assert [*cache.glob("arrays-*"), *cache.glob("partial/*")] == []


def test_a_label_outside_the_named_classes_is_refused(tmp_path: Path) -> None:
    table = pa.table({"image": PNGS, "label": [2, *LABELS[1:]]})
    names = {"info": {"features": {"label": {"names": ["cat", "dog"]}}}}
    path = tmp_path / "pets.parquet"
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(names)}), path)
    with pytest.raises(DataError, match=f"^{path}: label 2 is outside 0..1"):
        load(path=str(path))


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_named(tmp_path: Path, share: float) -> None:
    path = parquet(tmp_path / "pets.parquet", PNGS, LABELS)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=f"^{path}: truncated, or not a Parquet file: "):
        load(path=str(path))


def test_no_rows_are_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path / "pets.parquet", pa.array([], pa.binary()), pa.array([], pa.int64()))
    with pytest.raises(DataError, match=f"^{path}: 0 samples; at least 1 is needed"):
        load(path=str(path))


def test_a_folder_without_a_training_part_is_named(tmp_path: Path) -> None:
    parquet(tmp_path / "folder/validation.parquet", PNGS, LABELS)
    with pytest.raises(DataError, match=rf"^{tmp_path}/folder: train\*\.parquet is missing"):
        load(path=str(tmp_path / "folder"), format="parquet")


def test_an_option_that_is_unknown_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path / "pets.parquet", PNGS, LABELS)
    with pytest.raises(UserError, match=r"^dataset\.options\.labels: unknown field; .*allowed: config, image, label$"):
        load(path=str(path), options={"labels": "x"})


def test_columns_that_claim_more_than_is_allowed_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = parquet(tmp_path / "a.parquet", PNGS, LABELS)
    monkeypatch.setenv("TRAINSERVE_LIMITS", '{"dataset": "1Ki"}')
    with pytest.raises(DataError, match=r"its columns take .* KiB; at most 1 KiB \(the chart's limits.dataset\)"):
        load(path=str(path))
