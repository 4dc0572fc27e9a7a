"""`fashion-mnist`: the real package, and the user's own files if apt is missing."""

import gzip
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from trainserve.api.pod import Variable
from trainserve.models.data import fashion, idx
from trainserve.models.errors import DataError

from .data_files import load


@pytest.fixture(scope="module")
def real_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds the package; skips the test if apt cannot reach it."""
    cache = tmp_path_factory.mktemp("cache")
    os.environ["TRAINSERVE_CACHE"] = str(cache)
    try:
        load(name="fashion-mnist")
    except DataError as error:
        if "apt cannot fetch" in str(error):
            pytest.skip(str(error))
        raise
    finally:
        del os.environ["TRAINSERVE_CACHE"]
    return cache


def test_the_real_package_is_fetched_and_not_installed(real_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINSERVE_CACHE", str(real_cache))
    monkeypatch.setenv("PATH", "/nowhere")
    dataset = load(name="fashion-mnist")
    assert (dataset.train_images.shape, dataset.test_images.shape) == ((60000, 28, 28, 1), (10000, 28, 28, 1))
    assert np.bincount(dataset.train_targets).tolist() == [6000] * 10
    assert (dataset.labels[9], dataset.train_targets[0], dataset.train_images.dtype) == (
        "Ankle boot",
        9,
        np.dtype(np.uint8),
    )
    assert dataset.normalisation().mean[0] == pytest.approx(0.2860, abs=1e-4)
    assert dataset.normalisation().std[0] == pytest.approx(0.3530, abs=1e-4)
    entries = {path.name for path in next(real_cache.glob("fashion-mnist-*")).iterdir()}
    assert entries == {f"{part}-ubyte" for part in FILES}


FILES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


@pytest.fixture
def own_files(real_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "own"
    shutil.copytree(next(real_cache.glob("fashion-mnist-*")), folder)
    monkeypatch.setenv(Variable.FASHION_MNIST, str(folder))
    monkeypatch.setenv("TRAINSERVE_CACHE", str(tmp_path / "cache"))
    return folder


def test_files_of_ones_own_are_taken_compressed_or_not(own_files: Path) -> None:
    labels = own_files / "t10k-labels-idx1-ubyte"
    (own_files / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels.read_bytes()))
    labels.unlink()
    assert len(load(name="fashion-mnist").test_images) == 10000


def test_the_package_is_read_where_it_is_installed(own_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(Variable.FASHION_MNIST)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(fashion, "_ROOT", own_files.parent / "root")
    shutil.copytree(own_files, own_files.parent / "root/usr/share/datasets/fashion-mnist")
    assert len(load(name="fashion-mnist").test_images) == 10000


def test_files_that_are_not_the_published_ones_are_named_and_nothing_is_kept(own_files: Path, tmp_path: Path) -> None:
    file = own_files / "t10k-labels-idx1-ubyte"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=f"^{file}: expected sha256:0402a96d.*, found sha256:"):
        load(name="fashion-mnist")
    assert [*(tmp_path / "cache").glob("fashion-*"), *(tmp_path / "cache").glob("partial/*")] == []
    file.unlink()
    with pytest.raises(
        DataError, match=f"^{file}.gz: No such file or directory; {Variable.FASHION_MNIST} must name the folder"
    ):
        load(name="fashion-mnist")


def test_without_apt_the_error_says_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion, "_ROOT", tmp_path / "root")
    monkeypatch.setenv("TRAINSERVE_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DataError) as error:
        load(name="fashion-mnist")
    assert str(error.value) == (
        "fashion-mnist: apt cannot fetch Debian's package dataset-fashion-mnist: apt-get is not installed; "
        "alternatively set TRAINSERVE_FASHION_MNIST to a folder with its four IDX files"
    )
    assert [*tmp_path.glob("partial/*")] == []


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "begins with nothing; an IDX file of bytes begins with 000008"),
        (b"\x00\x00\x0d\x01\0\0\0\x01", "begins with 00000d01; "),
        (b"\0\0\x08\x03\0\0", "truncated within its header of 16 bytes"),
        (b"\0\0\x08\x01\0\0\0\x05abc", "11 bytes; must be 13, as its header says"),
        (b"\0\0\x08\x01\0\0\0\x02abc", "11 bytes; must be 10, as its header says"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "16 bytes; must be 79228162458924105385300197391, as its header says"),
    ],
)
def test_a_bad_idx_file_is_named(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"^{path}: {text}"):
        idx.read(path)


def test_idx_is_read_in_c_order(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(b"\0\0\x08\x02\0\0\0\x02\0\0\0\x03abcdef")
    assert idx.read(path).tobytes() == b"abcdef"
    assert idx.read(path).shape == (2, 3)
