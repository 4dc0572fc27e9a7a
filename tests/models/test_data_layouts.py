"""Image folders in common layouts: where the classes are, which part is the test split, which files are ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainserve.models.data import layout
from trainserve.models.errors import DataError

from .data_files import encoded, folder, load, picture, told


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINSERVE_CACHE", str(tmp_path_factory.mktemp("cache")))


def put(root: Path, *names: str) -> Path:
    """Write a picture under each name; a name that ends in / is an empty folder."""
    for number, name in enumerate(names):
        path = root / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_bytes(encoded(picture(number, number)))
    return root


def each(part: str, *classes: str, count: int = 5) -> list[str]:
    return [f"{part}{name}/{number}.png" for name in classes for number in range(count)]


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev", "Valid", "VAL"])
def test_a_validation_folder_beside_train_is_the_test_part_and_it_is_said(tmp_path: Path, name: str) -> None:
    root = put(tmp_path / "pets", *each("train/", "cat", "dog"), *each(f"{name}/", "cat", "dog", count=2))
    dataset, said = told(path=str(root))
    assert (len(dataset.train_images), len(dataset.test_images)) == (10, 4)
    assert said == [f"data: {name}/ (4 samples) is the test part: the model is evaluated and gated on it"]


@pytest.mark.parametrize(("train", "test"), [("Training", "Testing"), ("TRAIN", "TEST"), ("training", "eval")])
def test_parts_are_known_by_their_other_names(tmp_path: Path, train: str, test: str) -> None:
    root = put(tmp_path / "scans", *each(f"{train}/", "no", "yes"), *each(f"{test}/", "no", "yes", count=1))
    dataset, said = told(path=str(root))
    assert (len(dataset.train_images), len(dataset.test_images), said) == (10, 2, [])


def test_of_a_test_and_a_validation_part_it_is_said_which_is_which(tmp_path: Path) -> None:
    parts = [*each("train/", "cat", "dog"), *each("test/", "cat", "dog", count=3), *each("val/", "cat", "dog", count=2)]
    dataset, said = told(path=str(put(tmp_path / "pets", *parts)))
    assert len(dataset.test_images) == 6
    assert said == [
        "data: test/ (6 samples) is the test part: the model is evaluated and gated on it; val/ (4 samples) is not used"
    ]


def test_a_test_part_without_classes_is_not_used_and_that_is_said(tmp_path: Path) -> None:
    root = put(tmp_path / "pets", *each("train/", "cat", "dog"), "test/1.png", "test/2.png", *each("valid/", "cat"))
    dataset, said = told(path=str(root))
    assert len(dataset.test_images) == 5
    assert "data: test/ has no class folders, and is not used" in said


def test_flat_class_folders_are_the_classes_and_a_share_of_each_is_held_out(tmp_path: Path) -> None:
    dataset, said = told(path=str(put(tmp_path / "pets", *each("", "cat", "dog", "fox", count=10))))
    assert (dataset.labels, len(dataset.train_images)) == (["cat", "dog", "fox"], 24)
    assert np.bincount(dataset.test_targets).tolist() == [2, 2, 2]
    assert said == ["data: there is no train/: the 3 folders are taken as the classes"]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    dataset = load(path=str(put(tmp_path / "vehicles", *each("", "bus", "car", "train"))))
    assert dataset.labels == ["bus", "car", "train"]


def test_flat_classes_beside_a_test_part(tmp_path: Path) -> None:
    root = put(tmp_path / "pets", *each("", "cat", "dog"), *each("test/", "cat", "dog", count=2))
    dataset = load(path=str(root))
    assert (dataset.labels, len(dataset.train_images), len(dataset.test_images)) == (["cat", "dog"], 10, 4)


@pytest.mark.parametrize("around", ["", "pets/", "home/me/pets/"])
@pytest.mark.parametrize("part", ["train/", ""])
def test_folders_around_it_are_gone_through(tmp_path: Path, around: str, part: str) -> None:
    root = put(tmp_path / "download", *each(f"{around}{part}", "cat", "dog"))
    (root / "LICENSE").write_text("free")
    dataset, said = told(path=str(root))
    where = f" of {around}" if around else ""
    assert dataset.labels == ["cat", "dog"]
    assert said[:1] == ([] if part else [f"data: there is no train/: the 2 folders{where} are taken as the classes"])


def test_what_systems_leave_behind_is_not_there(tmp_path: Path) -> None:
    root = put(
        tmp_path / "pets",
        *each("train/", "cat", "dog"),
        "__MACOSX/train/cat/._0.png",
        "train/.ipynb_checkpoints/0.png",
        "train/cat/@eaDir/0.png/thumbnail.png",
        "train/cat/._0.png",
    )
    dataset, said = told(path=str(root))
    assert (dataset.labels, len(dataset.train_images) + len(dataset.test_images), said) == (["cat", "dog"], 10, [])


def test_a_class_has_the_pictures_of_the_folders_below_it_too(tmp_path: Path) -> None:
    root = put(tmp_path / "pets", *each("train/", "cat", "dog"), "train/cat/at night/0.png")
    dataset = load(path=str(root))
    assert np.bincount([*dataset.train_targets, *dataset.test_targets]).tolist() == [6, 5]


def test_what_is_no_picture_is_passed_over_counted_and_named(tmp_path: Path) -> None:
    root = put(tmp_path / "pets", *each("train/", "cat", "dog"))
    for name in ("cat/Thumbs.db", "cat/desktop.ini", "dog/README", "dog/notes.txt", "classes.csv"):
        (root / "train" / name).write_bytes(b"\xd0\xcf\x11\xe0")
    dataset, said = told(path=str(root))
    assert len(dataset.train_images) + len(dataset.test_images) == 10
    assert said == [
        "data: skipped 5 entries that are not pictures of a class: train/classes.csv, train/cat/Thumbs.db, "
        "train/cat/desktop.ini and 2 more"
    ]


def test_a_folder_beside_train_that_is_no_part_is_named(tmp_path: Path) -> None:
    _, said = told(path=str(put(tmp_path / "pets", *each("train/", "cat", "dog"), "extra/1.png")))
    assert said == ["data: skipped 1 entry that is not a picture of a class: extra"]


def test_a_flat_folder_without_pictures_is_no_class(tmp_path: Path) -> None:
    root = put(tmp_path / "pets", *each("", "cat", "dog"), "annotations/")
    (root / "annotations/cat.xml").write_text("<a/>")
    assert load(path=str(root)).labels == ["cat", "dog"]


def test_a_class_of_train_without_pictures_is_a_warning(tmp_path: Path) -> None:
    dataset, said = told(path=str(put(tmp_path / "pets", *each("train/", "cat", "fox"), "train/dog/")))
    assert dataset.labels == ["cat", "dog", "fox"]
    assert sorted({*dataset.train_targets.tolist()}) == [0, 2]
    assert said == ["data: warning: 1 of 3 classes have no samples, and will not be recognised: 1 (dog)"]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("name", ["1.jpg", "1.png", "picture"])
def test_a_picture_is_known_by_its_content_whatever_its_name(tmp_path: Path, kind: str, name: str) -> None:
    root = folder(tmp_path / "pets", ("train", "test"), count=2, mode="RGB")
    (root / "test/dog" / name).write_bytes(encoded(Image.new("RGB", (8, 8), (200, 200, 200)), kind))
    dataset, said = told(path=str(root))
    assert (len(dataset.test_images), said) == (5, [])
    assert any((image == 200).all() for image in dataset.test_images)


def one_odd(root: Path, image: Image.Image, mode: str = "RGB", **options: Any) -> Path:
    """Write pictures of mode `mode`, and `image` among them."""
    folder(root, ("train", "test"), mode=mode)
    image.save(root / "test/dog/odd.tif", **options)
    return root


GREY = Image.new("L", (8, 8), 77)


def test_one_grey_picture_among_coloured_ones_is_converted_and_counted(tmp_path: Path) -> None:
    dataset, said = told(path=str(one_odd(tmp_path / "pets", GREY)))
    assert (dataset.shape, dataset.test_images[-1].tolist()) == ((8, 8, 3), np.full((8, 8, 3), 77).tolist())
    assert said == ["data: 1 of 41 pictures is grey, converted to RGB (dataset.mode: grey converts all others instead)"]


def test_one_coloured_picture_among_grey_ones_loses_nothing(tmp_path: Path) -> None:
    dataset, said = told(path=str(one_odd(tmp_path / "pets", Image.new("RGB", (8, 8), (9, 8, 7)), mode="L")))
    assert dataset.test_images[-1][0, 0].tolist() == [9, 8, 7]
    assert said[0].startswith("data: 40 of 41 pictures are grey, converted to RGB")


@pytest.mark.parametrize(("mode", "channels", "lines"), [("grey", 1, 1), ("rgb", 3, 1), ("auto", 3, 1)])
def test_the_mode_can_be_asked_for(tmp_path: Path, mode: str, channels: int, lines: int) -> None:
    root = one_odd(tmp_path / "pets", GREY)
    auto, _ = told(path=str(root))
    dataset, said = told(path=str(root), mode=mode)
    assert (dataset.shape[2], len(said)) == (channels, lines)
    if mode == "grey":
        assert said == ["data: 40 of 41 pictures are in colour, converted to grey"]
        as_pillow = np.asarray(Image.fromarray(auto.train_images[0]).convert("L"))
        assert np.array_equal(dataset.train_images[0, ..., 0], as_pillow)


def test_grey_pictures_stay_grey(tmp_path: Path) -> None:
    dataset, said = told(path=str(one_odd(tmp_path / "pets", GREY, mode="L")))
    assert (dataset.shape, said) == ((8, 8, 1), [])
    assert load(path=str(tmp_path / "pets"), mode="rgb").shape == (8, 8, 3)


def test_what_is_stored_on_its_side_is_trained_on_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = picture(5, 1, "RGB")
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    dataset, said = told(path=str(one_odd(tmp_path / "pets", stored, exif=exif)))
    assert np.array_equal(dataset.test_images[-1], np.asarray(upright))
    assert said == ["data: 1 of 41 pictures is stored on their side or mirrored, and turned upright as EXIF says"]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image.fromarray(np.full((8, 8), 77 * 257, np.uint16)), "is of 16 bits a channel, scaled to 8"),
        (Image.fromarray(np.full((8, 8), 77 / 255, np.float32)), "is of floats, taken as 0..1 or 0..255 and scaled"),
        (Image.fromarray(np.full((8, 8), 77, np.int32)), "is of 32-bit values, taken as 0..255 or 0..65535 and"),
    ],
)
def test_deep_pictures_are_scaled_and_counted(tmp_path: Path, image: Image.Image, words: str) -> None:
    dataset, said = told(path=str(one_odd(tmp_path / "pets", image, mode="L")))
    assert (dataset.test_images[-1] == 77).all()
    assert said[0].startswith(f"data: 1 of 41 pictures {words}")


def test_what_was_found_is_said_again_by_a_second_run(tmp_path: Path) -> None:
    root = one_odd(tmp_path / "pets", GREY)
    (root / "train/dog/Thumbs.db").write_bytes(b"x")
    assert told(path=str(root))[1] == told(path=str(root))[1] != []


def test_pictures_without_classes_are_no_data_set(tmp_path: Path) -> None:
    root = put(tmp_path / "pets", "train/1.png", "train/2.png", "test/3.png")
    with pytest.raises(DataError, match=f"^{root}/train: 0 class folders; must hold <class>/"):
        load(path=str(root))
    root = put(tmp_path / "parts", *each("test/", "cat", "dog"))
    with pytest.raises(DataError, match=f"^{root}: train/ is missing"):
        load(path=str(root))


def test_a_layout_is_found_without_reading_a_picture(tmp_path: Path) -> None:
    for name in ("pets/Train/cat/", "pets/Train/dog/", "pets/val/cat/", "pets/masks/"):
        (tmp_path / name).mkdir(parents=True)
    found = layout.find(tmp_path)
    assert (found.train, found.classes, found.flat) == (tmp_path / "pets/Train", ["cat", "dog"], False)
    assert (found.parts, found.strays) == ({"validation": tmp_path / "pets/val"}, (tmp_path / "pets/masks",))
