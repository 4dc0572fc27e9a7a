"""Image folders: PNG and JPEG files, and the message for an invalid one."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trainserve.models.data.pixels import decode, form
from trainserve.models.errors import DataError, UserError

from .data_files import encoded, folder, load, picture


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAINSERVE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_png_is_read_exactly_with_the_folders_as_classes(tmp_path: Path) -> None:
    root = folder(tmp_path / "pets", ("train", "test"), ("cat", "dog", "emu"), count=4)
    dataset = load(path=str(root))
    assert (dataset.name, dataset.labels) == ("pets", ["cat", "dog", "emu"])
    assert (dataset.shape, dataset.train_images.dtype) == ((8, 8, 1), np.dtype(np.uint8))
    assert (dataset.train_targets.tolist(), len(dataset.test_images)) == ([0] * 4 + [1] * 4 + [2] * 4, 12)
    for number in range(12):
        expected = np.asarray(picture(number, number // 4, "L"))
        assert np.array_equal(dataset.train_images[number, ..., 0], expected)


def test_jpeg_in_colour_has_three_channels(tmp_path: Path) -> None:
    dataset = load(path=str(folder(tmp_path / "pets", suffix="JPG", mode="RGB")))
    assert dataset.shape == (8, 8, 3)
    first = np.asarray(Image.open(tmp_path / "pets/train/cat/0000.JPG"))
    assert any(np.array_equal(first, image) for image in [*dataset.train_images, *dataset.test_images])


def test_without_a_test_part_it_is_split_by_the_seed(tmp_path: Path) -> None:
    path = str(folder(tmp_path / "pets", count=20))
    first, again, other = load(0, path=path), load(0, path=path), load(1, path=path)
    assert (len(first.train_images), len(first.test_images)) == (32, 8)
    assert np.bincount(first.test_targets).tolist() == [4, 4]
    assert np.array_equal(first.train_images, again.train_images)
    assert not np.array_equal(first.train_images, other.train_images)


def test_val_is_the_test_part_where_there_is_no_test(tmp_path: Path) -> None:
    assert len(load(path=str(folder(tmp_path / "pets", ("train", "val"), count=3))).test_images) == 6


def test_sizes_may_differ_when_one_is_asked_for(tmp_path: Path) -> None:
    root = folder(tmp_path / "pets", size=(9, 12))
    (root / "train/cat/0000.png").write_bytes(encoded(picture(0, 0, "L", (5, 4))))
    dataset = load(path=str(root), size=[6, 8])
    assert dataset.shape == (6, 8, 1)


def test_a_second_run_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path / "pets")
    first = load(path=str(root))
    monkeypatch.setattr("trainserve.models.data.images.decode", None)
    assert np.array_equal(load(path=str(root)).train_images, first.train_images)
    with pytest.raises(TypeError):
        load(path=str(root), size=[4, 4])


def test_large_data_is_mapped_and_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path / "pets", count=30)
    small = load(path=str(root), split={"test": 0.3})
    monkeypatch.setattr("trainserve.models.data.arrays.LARGE", 100)
    large = load(path=str(root), split={"test": 0.3})
    assert isinstance(large.train_images, np.memmap)
    assert not isinstance(small.train_images, np.memmap)
    for name in ("train_images", "train_targets", "test_images", "test_targets"):
        assert np.array_equal(getattr(large, name), getattr(small, name))


@pytest.mark.parametrize("mode", ["P", "RGBA", "CMYK"])
def test_other_modes_become_colour_when_all_do(tmp_path: Path, mode: str) -> None:
    root = folder(tmp_path / "pets", suffix="jpg" if mode == "CMYK" else "png", mode=mode)
    assert load(path=str(root)).shape == (8, 8, 3)


Change = Callable[[Path], Any]
FIRST = "train/cat/0000.png"
BAD: list[tuple[str, Change, str]] = [
    (
        "another size",
        lambda root: (root / "train/dog/0012.png").write_bytes(encoded(picture(0, 0, "RGB", (8, 9)))),
        rf"/train/dog/0012\.png: 8x9 pixels, and .*/{FIRST} has 8x8; must be equal, or set dataset\.size",
    ),
    (
        "a text named png",
        lambda root: (root / "train/dog/0012.png").write_text("hello"),
        r"/train/dog/0012\.png: not a picture that can be read .*: it begins with 68656c6c$",
    ),
    (
        "an empty file",
        lambda root: (root / "train/dog/0012.png").write_text(""),
        r"/train/dog/0012\.png: not a picture that can be read .*: it is empty$",
    ),
    (
        "two texts named png",
        lambda root: [(root / f"train/dog/{name}.png").write_text("hello") for name in ("0012", "0013")],
        r"/train/dog/0012\.png: not a picture .*: it begins with 68656c6c; 1 more cannot be read either$",
    ),
    (
        "a git-lfs pointer",
        lambda root: (root / "train/dog/0012.jpg").write_text("version https://git-lfs.github.com/spec/v1\noid x"),
        r"/train/dog/0012\.jpg: not a picture .*: it is a git-lfs pointer, which `git lfs pull` replaces",
    ),
    (
        "a picture of a telephone",
        lambda root: (root / "train/dog/a.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0"),
        r"/train/dog/a\.HEIC: not a picture .*: it is heic, which must be converted to one of these",
    ),
    (
        "a class that only the test part has",
        lambda root: (root / "test/emu").mkdir(parents=True),
        r"/test/emu: not a class; must be one of the folders of train/: cat, dog",
    ),
    (
        "an empty test part",
        lambda root: (root / "test").mkdir(),
        r"/test: 0 samples; at least 1 is needed",
    ),
    (
        "one class",
        lambda root: [*(root / "train/dog").rename(root / "dog").iterdir()],
        r"pets: only class 0 occurs; at least 2 classes are needed",
    ),
]


@pytest.mark.parametrize(("change", "text"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_bad_folder_is_refused_with_the_files_name(tmp_path: Path, cache: Path, change: Change, text: str) -> None:
    root = folder(tmp_path / "pets", mode="RGB")
    change(root)
    with pytest.raises(DataError, match=f"^{tmp_path}.*{text}"):
        load(path=str(root))
    assert [*cache.glob("arrays-*"), *cache.glob("partial/*")] == []


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_a_truncated_image_is_named(tmp_path: Path, suffix: str, share: float) -> None:
    root = folder(tmp_path / "pets", suffix=suffix, size=(32, 32))
    broken = root / f"train/dog/0012.{suffix}"
    content = broken.read_bytes()
    broken.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=f"^{broken}: .*truncated or damaged"):
        load(path=str(root))


@settings(max_examples=200)
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), kind=st.sampled_from(["PNG", "JPEG"]))
def test_a_flipped_bit_is_an_error_or_harmless_never_a_crash(position: float, bit: int, kind: str) -> None:
    content = bytearray(encoded(picture(0, 0, "RGB", (16, 16)), kind))
    expected = form(bytes(content), "first", None, "RGB")
    content[int(position * len(content))] ^= 1 << bit
    try:
        assert decode(bytes(content), "second", expected).shape == (16, 16, 3)
    except DataError as error:
        assert str(error).startswith("second: ")


def test_folders_that_are_none_are_named(tmp_path: Path) -> None:
    root = tmp_path / "pets"
    root.mkdir()
    with pytest.raises(DataError, match=f"^{root}: train/ is missing; must hold train/<class>/.*, or <class>/"):
        load(path=str(root))
    (root / "train").mkdir()
    with pytest.raises(DataError, match=f"^{root}/train: 0 class folders; must hold <class>/"):
        load(path=str(root))
    with pytest.raises(DataError, match=f"^{tmp_path}/absent: No such file or directory"):
        load(path=str(tmp_path / "absent"), format="images")


def test_what_a_folder_of_images_cannot_be_is_refused(tmp_path: Path) -> None:
    path = str(folder(tmp_path / "pets"))
    with pytest.raises(UserError, match=r"^dataset\.task: 'regression' is not allowed; a folder of images has classes"):
        load(path=path, task="regression")
    with pytest.raises(UserError, match=r"^dataset\.options: label is not allowed; format images takes none"):
        load(path=path, options={"label": "x"})


@pytest.mark.parametrize("name", ["data.csv", "data", "data.png"])
def test_an_unknown_format_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(
        DataError, match=re.escape(f"{tmp_path / name}: unknown format; must be a folder or end in .npz")
    ):
        load(path=str(tmp_path / name))


def test_a_picture_of_more_pixels_than_are_allowed_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path / "pets")
    monkeypatch.setenv("TRAINSERVE_LIMITS", '{"picture": 63}')
    with pytest.raises(DataError, match=r"8x8 pixels; at most 63 in all are decoded \(the chart's limits.picture\)"):
        load(path=str(root))
    monkeypatch.setenv("TRAINSERVE_LIMITS", '{"picture": 64}')
    assert load(path=str(root)).shape == (8, 8, 1)
