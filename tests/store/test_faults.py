"""Publishing when killed, on a full disk and on a read-only store: earlier versions untouched, never half a version."""

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.store.children import begin
from trainserve import store
from trainserve.serving.sources.source import open_servable

Publish = Callable[..., store.Published]


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def read_only(tmp_path: Path, root: Path) -> Iterator[Path]:
    folder = tmp_path / "read-only"
    folder.mkdir()
    root.mkdir(exist_ok=True)
    mount("--bind", str(root), str(folder))
    mount("-o", "remount,ro,bind", str(folder))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def whole(root: Path) -> list[int]:
    """Return the published versions, after reading each one completely."""
    there = store.versions(root, "default", "digits")
    for version in there:
        open_servable(store.address(str(root), "default", "digits", version), release=None)
    return there


def killed_at(publish: Publish, event: int) -> bool:
    """Publish in a child that kills itself at its n-th file operation; return False if it completed."""
    child = begin(publish, "killed", kill_at=event)
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode != 0


def test_a_kill_at_any_file_operation_leaves_whole_versions_only(publish: Publish, root: Path) -> None:
    publish("before")
    event = 1
    while killed_at(publish, event):
        assert whole(root) in ([1], [1, 2]), f"after a kill at operation {event}"
        event += 1
    assert event > 8, "the child was killed at many operations"
    assert whole(root) == [1, 2], "the uid that was killed so often is published once"


def test_what_a_killed_publisher_left_is_cleaned_by_the_next(publish: Publish, root: Path) -> None:
    folder = root / "default/digits"
    event = 1
    while not list(folder.glob(".publishing-*/samples.npz")):
        assert killed_at(publish, event), "the child got through without leaving anything"
        event += 1
    publish("next")
    assert not list(folder.glob(".publishing-*"))
    assert whole(root) == [1]


def test_a_running_publishers_files_are_not_cleaned(publish: Publish, root: Path) -> None:
    import fcntl

    publish("first")
    folder = root / "default/digits"
    busy = folder / ".publishing-busy"
    busy.mkdir()
    with (folder / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        child = begin(publish, "second")
        child.join(0.5)
        assert child.exitcode is None, "the second publisher waits for its turn"
        assert busy.exists()
    child.join()
    assert whole(root) == [1, 2]


@pytest.mark.parametrize("free_kib", [0, 16, 60, 84])
def test_a_full_disk_is_named_and_leaves_earlier_versions(publish: Publish, small_disk: Path, free_kib: int) -> None:
    publish("first", root=small_disk)
    filler = small_disk / "filler"
    status = os.statvfs(small_disk)
    filler.write_bytes(b"x" * (status.f_bavail * status.f_frsize - free_kib * 1024))
    with pytest.raises(store.StoreError, match=f"cannot publish to .*small.*: {os.strerror(errno.ENOSPC)}"):
        publish("second", root=small_disk)
    assert whole(small_disk) == [1]
    assert not list((small_disk / "default/digits").glob(".publishing-*"))
    filler.unlink()
    assert publish("second", root=small_disk).version == 2


def test_a_read_only_store_is_named(publish: Publish, read_only: Path, root: Path) -> None:
    with pytest.raises(store.StoreError, match=f"cannot publish to .*read-only.*: {os.strerror(errno.EROFS)}"):
        publish("first", root=read_only)
    publish("first")
    with pytest.raises(store.StoreError, match=f"cannot publish to .*read-only.*: {os.strerror(errno.EROFS)}"):
        publish("second", root=read_only)
    assert whole(read_only) == [1]


def test_a_root_that_is_a_file_is_named(publish: Publish, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(store.StoreError, match=r"cannot publish to .*/file/.*: Not a directory"):
        publish(root=tmp_path / "file")
