"""Durable writes: a file is complete or absent, folders appear in one step, and written data is synced to disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trainserve.files import durable


def test_a_write_replaces_what_was_there_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "note"
    for content in (b"first", b"second"):
        durable.write(path, content)
        assert path.read_bytes() == content
    assert [each.name for each in tmp_path.iterdir()] == ["note"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "note"
    durable.write(path, b"first")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as raised:
        durable.write(path, b"second")
    assert raised.value.filename == str(path)
    assert path.read_bytes() == b"first"
    assert [each.name for each in tmp_path.iterdir()] == ["note"]


def test_a_folder_appears_only_where_nothing_is(tmp_path: Path) -> None:
    for name in ("made", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    assert durable.appear(tmp_path / "made", tmp_path / "1")
    assert not durable.appear(tmp_path / "other", tmp_path / "1")
    (tmp_path / "2").write_text("a file")
    assert not durable.appear(tmp_path / "other", tmp_path / "2")
    assert (tmp_path / "1" / "file").read_text() == "made"
    assert (tmp_path / "other" / "file").is_file()


@pytest.mark.parametrize("count", [3, 300])
def test_a_tree_is_synced_whatever_its_size(tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    for number in range(count):
        (tmp_path / str(number)).write_text("")
    sync = os.fsync

    def counted(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", counted)
    durable.sync_tree(tmp_path)
    assert sorted(synced) == (sorted(["0", "1", "2", tmp_path.name]) if count == 3 else [])
