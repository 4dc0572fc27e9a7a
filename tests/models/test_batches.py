"""Batches: equal whether the split is resident or streamed; the choice depends on the available memory."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from trainserve.models.batches import Resident, Streamed, batches
from trainserve.models.data import memory

CPU = torch.device("cpu")


@pytest.fixture
def mapped(tmp_path: Path) -> np.memmap[Any, Any]:
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (500, 6, 5, 3), dtype=np.uint8))
    images: np.memmap[Any, Any] = np.load(tmp_path / "images.npy", mmap_mode="c")
    return images


def order(seed: int = 0) -> tuple[Tensor, ...]:
    return torch.split(torch.randperm(500, generator=torch.Generator().manual_seed(seed)), 64)


@pytest.mark.parametrize(
    "targets", [np.arange(500), np.arange(1000, dtype=np.float32).reshape(500, 2)], ids=["N", "NK"]
)
def test_streamed_and_resident_give_the_same_batches_in_order(mapped: Any, targets: Any) -> None:
    pairs = zip(Resident(mapped, targets, CPU).take(order()), Streamed(mapped, targets, CPU).take(order()), strict=True)
    for number, (resident, streamed) in enumerate(pairs):
        for one, other in zip(resident, streamed, strict=True):
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            assert torch.equal(one, other)
        assert torch.equal(resident[0], torch.from_numpy(mapped[order()[number].numpy()]))
    assert number == 7


def test_a_number_that_no_sample_has_is_an_error_never_another_sample(mapped: Any) -> None:
    for source in (Resident(mapped, np.arange(500), CPU), Streamed(mapped, np.arange(500), CPU)):
        with pytest.raises(IndexError):
            next(source.take([torch.tensor([0, 500])]))


def test_whoever_stops_early_leaves_no_thread(mapped: Any) -> None:
    given = Streamed(mapped, np.arange(500), CPU).take(order())
    next(given)
    assert any(thread.name.startswith("prefetch") for thread in threading.enumerate())
    given.close()  # type: ignore[attr-defined]
    assert not any(thread.name.startswith("prefetch") for thread in threading.enumerate())


def test_batches_are_read_ahead_but_not_without_end(mapped: Any) -> None:
    drawn = []

    def numbers() -> Iterator[Tensor]:
        for number in range(100):
            drawn.append(number)
            yield torch.tensor([number])

    given = Streamed(mapped, np.arange(500), CPU).take(numbers())
    next(given)
    assert 1 < len(drawn) < 20
    assert len([*given]) == 99


def test_what_is_in_memory_already_stays_resident(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free", lambda device: 0)
    images = np.zeros((10, 4, 4, 1), np.uint8)
    assert isinstance(batches(images, np.zeros(10, np.int64), CPU), Resident)


@pytest.mark.parametrize(("free", "kind"), [(100_000, Resident), (98_000, Resident), (97_999, Streamed), (0, Streamed)])
def test_what_is_mapped_is_resident_when_half_of_what_is_free_holds_it(
    mapped: Any, monkeypatch: pytest.MonkeyPatch, free: int, kind: type
) -> None:
    monkeypatch.setattr(memory, "free", lambda device: free)
    assert isinstance(batches(mapped, np.zeros(500, np.int64), CPU), kind)


MEMINFO = "MemTotal: 9 kB\nMemAvailable:    1000000 kB\n"
V2 = {"memory.max": "1000000000", "memory.current": "700000000", "memory.stat": "anon 1\ninactive_file 200000000\n"}
V1 = {
    "memory/memory.limit_in_bytes": "1000000000",
    "memory/memory.usage_in_bytes": "700000000",
    "memory/memory.stat": "cache 1\ntotal_inactive_file 100000000\n",
}


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 1_024_000_000),
        (V2, 500_000_000),
        (V1, 400_000_000),
        (V2 | {"memory.max": "max"}, 1_024_000_000),
        (V1 | {"memory/memory.limit_in_bytes": "9223372036854771712"}, 1_024_000_000),
        (V2 | {"memory.max": "100000000"}, 0),
    ],
    ids=["no cgroup", "v2", "v1", "v2 without a limit", "v1 without a limit", "over the limit"],
)
def test_free_memory_is_what_the_machine_and_the_cgroup_both_leave(
    tmp_path: Path, files: dict[str, str], free: int
) -> None:
    (tmp_path / "meminfo").write_text(MEMINFO)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert memory.host(tmp_path / "meminfo", tmp_path) == free


def test_this_machine_says_how_much_memory_is_free() -> None:
    assert 1 << 20 < memory.free(CPU) < 1 << 50
