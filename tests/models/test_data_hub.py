"""Folders of parquet files in the layouts of the Hugging Face Hub and others, with their usual column formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainserve.models.data import hub, hub_names
from trainserve.models.errors import DataError

from .data_files import encoded, load, picture, told

NAMES = ["cat", "dog", "fox"]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINSERVE_CACHE", str(tmp_path_factory.mktemp("cache")))


def contents(count: int) -> list[bytes]:
    return [encoded(picture(number, number % 3, "RGB")) for number in range(count)]


def write(
    path: Path,
    count: int,
    labels: Any = None,
    names: list[str] | None = None,
    image: str = "image",
    label: str = "label",
) -> None:
    """Write a file as `datasets` does: structs of bytes and path, and features in the metadata if there are names."""
    images = [{"bytes": content, "path": f"{number}.png"} for number, content in enumerate(contents(count))]
    table = pa.table({image: images, label: labels or [number % 3 for number in range(count)]})
    if names:
        features = {image: {"_type": "Image"}, label: {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


LAYOUTS = {
    "the Hub's": ("data/train-00000-of-00001-abcdef.parquet", "data/test-00000-of-00001.parquet"),
    "a config's": ("plain_text/train-00000-of-00001.parquet", "plain_text/test-00000-of-00001.parquet"),
    "the Hub's own conversion": ("default/train/0000.parquet", "default/test/0000.parquet"),
    "plain": ("train.parquet", "test.parquet"),
    "with a name before": ("mnist_train.parquet", "mnist_test.parquet"),
    "a folder a part": ("data/Train/part-0.parquet", "data/Testing/part-0.parquet"),
}


@pytest.mark.parametrize("files", LAYOUTS.values(), ids=LAYOUTS)
def test_a_layout_of_parquet_files_is_read_without_a_word_of_its_format(tmp_path: Path, files: tuple[str, str]) -> None:
    write(tmp_path / files[0], 30, names=NAMES)
    write(tmp_path / files[1], 6, names=NAMES)
    dataset, said = told(path=str(tmp_path))
    assert (len(dataset.train_images), len(dataset.test_images), dataset.labels, said) == (30, 6, NAMES, [])
    assert dataset.test_targets.tolist() == [0, 1, 2, 0, 1, 2]


def test_an_archive_may_hold_parquet(tmp_path: Path) -> None:
    import zipfile

    write(tmp_path / "train.parquet", 30, names=NAMES)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.write(tmp_path / "train.parquet", "data/train-00000-of-00001.parquet")
    assert load(path=str(tmp_path / "set.zip")).labels == NAMES


def test_a_validation_split_is_the_test_part_and_it_is_said(tmp_path: Path) -> None:
    write(tmp_path / "data/train-00000-of-00001.parquet", 30, names=NAMES)
    write(tmp_path / "data/validation-00000-of-00001.parquet", 9, names=NAMES)
    dataset, said = told(path=str(tmp_path))
    assert len(dataset.test_images) == 9
    assert said == ["data: validation (9 samples) is the test part: the model is evaluated and gated on it"]


def test_a_test_split_whose_labels_are_withheld_is_not_used(tmp_path: Path) -> None:
    write(tmp_path / "data/train-0.parquet", 30, names=NAMES)
    write(tmp_path / "data/test-0.parquet", 9, labels=[-1] * 9, names=NAMES)
    write(tmp_path / "data/validation-0.parquet", 3, names=NAMES)
    dataset, said = told(path=str(tmp_path))
    assert len(dataset.test_images) == 3
    assert "data: test: all labels are -1 (withheld); not used" in said


def test_files_that_name_no_part_are_all_trained_on(tmp_path: Path) -> None:
    for number in range(2):
        write(tmp_path / f"{number:04}.parquet", 15)
    dataset = load(path=str(tmp_path))
    assert len(dataset.train_images) + len(dataset.test_images) == 30


def test_what_is_hidden_or_of_no_part_is_not_read(tmp_path: Path) -> None:
    write(tmp_path / "data/train-0.parquet", 30)
    write(tmp_path / "data/unsupervised-0.parquet", 30)
    write(tmp_path / ".cache/huggingface/train-0.parquet", 30)
    dataset, said = told(path=str(tmp_path))
    assert len(dataset.train_images) + len(dataset.test_images) == 30
    assert said == ["data: skipped files that belong to no part: unsupervised-0.parquet"]


def test_of_several_configs_one_must_be_named(tmp_path: Path) -> None:
    for number, config in enumerate(("large", "small")):
        write(tmp_path / config / "train-0.parquet", 30 + 6 * number)
    with pytest.raises(DataError, match=r"2 configs: large, small; dataset\.options\.config must name one"):
        load(path=str(tmp_path))
    with pytest.raises(DataError, match=r"config 'tiny' is missing; there are: large, small"):
        load(path=str(tmp_path), options={"config": "tiny"})
    dataset, said = told(path=str(tmp_path), options={"config": "small"})
    assert len(dataset.train_images) + len(dataset.test_images) == 36
    assert said == ["data: config small is read, 1 of 2; not read: large"]
    write(tmp_path / "default" / "train-0.parquet", 15)
    assert told(path=str(tmp_path))[1] == ["data: config default is read, 1 of 3; not read: large, small"]


README = """---
license: mit
dataset_info:
{info}
---
# Pets
"""
ONE = """  features:
  - name: image
    dtype: image
  - name: label
    dtype:
      class_label:
        names:
          '0': cat
          '10': kid
          '2': emu
          '1': dog"""
LISTED = """- config_name: other
  features:
  - name: label
    dtype: {class_label: {names: {'0': x}}}
- config_name: small
  features:
  - {name: label, dtype: {class_label: {names: [cat, dog, emu, kid]}}}"""


@pytest.mark.parametrize(
    ("file", "content", "folder"),
    [
        ("README.md", README.format(info=ONE), "data"),
        ("README.md", README.format(info=LISTED), "small"),
        ("dataset_info.json", json.dumps({"features": {"label": {"names": ["cat", "dog", "emu", "kid"]}}}), "data"),
        ("dataset_infos.json", json.dumps({"small": {"features": {"label": {"names": ["cat", "dog", "emu", "kid"]}}}}),
         "small"),
    ],
)  # fmt: skip
def test_names_of_classes_come_from_the_files_beside_the_data(
    tmp_path: Path, file: str, content: str, folder: str
) -> None:
    write(tmp_path / folder / "train-0.parquet", 30)
    (tmp_path / file).write_text(content)
    dataset, said = told(path=str(tmp_path))
    assert dataset.labels == ["cat", "dog", "emu", "kid"]
    assert said == ["data: warning: 1 of 4 classes have no samples, and will not be recognised: 3 (kid)"]


@pytest.mark.parametrize("content", ["", "# Pets", "---\n---\n", "---\ndataset_info:\n---\n", "---\n: [\n---\n"])
def test_a_readme_without_names_is_none_of_them(tmp_path: Path, content: str) -> None:
    (tmp_path / "README.md").write_text(content)
    assert hub_names.beside(tmp_path, "", "label") == []


def test_pictures_beside_metadata_stay_pictures(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for number in range(5):
            (tmp_path / "train" / name / f"{number}.png").write_bytes(contents(1)[0])
    pq.write_table(pa.table({"file_name": ["a"]}), tmp_path / "metadata.parquet")
    assert load(path=str(tmp_path)).labels == ["cat", "dog"]


@pytest.mark.parametrize(("image", "label"), [("img", "fine_label"), ("picture", "target"), ("photo", "labels")])
def test_columns_are_known_by_their_features_or_usual_names_and_it_is_said(
    tmp_path: Path, image: str, label: str
) -> None:
    write(tmp_path / "train.parquet", 30, names=NAMES, image=image, label=label)
    dataset, said = told(path=str(tmp_path / "train.parquet"))
    assert dataset.labels == NAMES
    assert said == [f"data: column {image!r} is the image", f"data: column {label!r} is the label"]


def test_of_two_columns_that_could_be_the_label_one_must_be_named(tmp_path: Path) -> None:
    features = {name: {"names": NAMES, "_type": "ClassLabel"} for name in ("fine", "coarse")}
    table = pa.table({"image": contents(6), "fine": [0, 1, 2] * 2, "coarse": [0, 1, 2] * 2})
    pq.write_table(
        table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}),
        tmp_path / "x.parquet",
    )
    with pytest.raises(
        DataError, match=r"column 'label' is missing; set dataset\.options\.label to one of: image, fine, coarse"
    ):
        load(path=str(tmp_path / "x.parquet"))


WORDS = [NAMES[number % 3] for number in range(30)]
COLUMNS: dict[str, tuple[pa.Array, pa.Array]] = {
    "binary_view": (pa.array(contents(30), pa.binary_view()), pa.array(WORDS, pa.string_view())),
    "large": (pa.array(contents(30), pa.large_binary()), pa.array(WORDS, pa.large_string())),
    "dictionary": (pa.array(contents(30)).dictionary_encode(), pa.array(WORDS).dictionary_encode()),
    "dictionary in another order": (
        pa.array(contents(30)),
        pa.DictionaryArray.from_arrays([(2 - number % 3) for number in range(30)], NAMES[::-1]),
    ),
    "numbers in a dictionary": (pa.array(contents(30)), pa.array([n % 3 for n in range(30)]).dictionary_encode()),
    "lists of one": (pa.array(contents(30)), pa.array([[n % 3] for n in range(30)])),
    "small integers": (pa.array(contents(30)), pa.array([n % 3 for n in range(30)], pa.uint8())),
}


@pytest.mark.parametrize("columns", COLUMNS.values(), ids=COLUMNS)
def test_columns_of_every_type_that_writers_choose_are_read(tmp_path: Path, columns: tuple[Any, Any]) -> None:
    pq.write_table(pa.table({"image": columns[0], "label": columns[1]}), tmp_path / "pets.parquet", row_group_size=7)
    dataset = load(path=str(tmp_path / "pets.parquet"))
    assert dataset.labels in (NAMES, ["0", "1", "2"])
    for number in range(30):
        original = np.asarray(picture(number, number % 3, "RGB"))
        found = [
            target
            for images, targets in (
                (dataset.train_images, dataset.train_targets),
                (dataset.test_images, dataset.test_targets),
            )
            for image, target in zip(images, targets, strict=True)
            if np.array_equal(image, original)
        ]
        assert found == [number % 3]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train.parquet", ("", "train")),
        ("train2.parquet", ("", "train")),
        ("trainset.parquet", ("", "train")),
        ("data/validation-00000-of-00001.parquet", ("", "validation")),
        ("small/train-00000-of-00001.parquet", ("small", "train")),
        ("small/partial-train/0000.parquet", ("small", "train")),
        ("small/train/0000.parquet", ("small", "train")),
        ("0000.parquet", ("", None)),
        ("data/unsupervised-0.parquet", ("", None)),
    ],
)
def test_a_files_place_says_its_config_and_part(name: str, expected: tuple[str, str | None]) -> None:
    assert hub.placed(name) == expected
