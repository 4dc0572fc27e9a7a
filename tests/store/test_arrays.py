"""The size that an .npz header declares is checked before memory is allocated. No file here is as large as declared."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from trainserve.api import limits
from trainserve.store.arrays import TooLarge, check

FEW = 64 << 10
"""Bytes."""


def claiming(path: Path, shape: tuple[int, ...]) -> Path:
    """Write an .npz with one array whose header declares `shape` and whose data is 8 bytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", header.getvalue() + bytes(8))
    return path


def test_an_array_that_claims_more_than_is_allowed_is_refused_by_what_it_claims(tmp_path: Path) -> None:
    path = claiming(tmp_path / "samples.npz", (64, 1024))
    tracemalloc.start()
    with pytest.raises(TooLarge) as refused:
        check(path, FEW, path.name)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    assert str(refused.value) == ("samples.npz: its arrays take 0.25 MiB; at most 0.0625 MiB are allowed")


def test_what_it_unpacks_to_counts_too_and_all_arrays_together(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "one.npz", x=np.zeros(70_000, np.uint8))
    np.savez_compressed(tmp_path / "two.npz", x=np.zeros(40_000, np.uint8), y=np.zeros(40_000, np.uint8))
    for name in ("one", "two"):
        assert (tmp_path / f"{name}.npz").stat().st_size < 2000
        with pytest.raises(TooLarge, match=r"at most 0\.0625 MiB"):
            check(tmp_path / f"{name}.npz", FEW, name)


def test_what_fits_passes_and_can_be_read_afterwards(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(8))
    content = io.BytesIO((tmp_path / "a.npz").read_bytes())
    check(content, FEW, "a")
    assert np.load(content)["x"].tolist() == list(range(8))


def test_what_is_no_npz_is_left_to_who_reads_it(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"x" * 100)
    check(tmp_path / "a.npz", FEW, "a")


@pytest.mark.parametrize("text", ["{", '{"sample": "1Mi"}', '{"picture": 0}', '{"samples": "many"}'])
def test_limits_that_cannot_be_meant_are_refused_with_the_variables_name(text: str) -> None:
    with pytest.raises(ValueError, match="TRAINSERVE_LIMITS="):
        limits.parse(text)
