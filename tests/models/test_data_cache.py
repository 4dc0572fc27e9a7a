"""The cache: its entries are complete; failed writes; progress messages."""

import contextlib
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trainserve.models.data.cache import Cache
from trainserve.models.data.watch import Watch
from trainserve.models.errors import DataError

from .data_files import kept, load, npz


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAINSERVE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_an_entry_is_seen_only_when_it_is_whole() -> None:
    cache = Cache(Watch())

    def fails(room: Path) -> None:
        (room / "half").write_text("x")
        raise DataError("no")

    def fills(room: Path) -> None:
        shutil.copy(__file__, room / "whole")

    with pytest.raises(DataError):
        cache.get("key", fails)
    assert kept(cache.root) == []
    path = cache.get("key", fills)
    assert [file.name for file in path.iterdir()] == ["whole"]
    assert cache.get("key", fails) == path


def test_a_full_disk_is_one_clear_error_and_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.decode()}")
    try:
        monkeypatch.setenv("TRAINSERVE_CACHE", str(small))
        (tmp_path / "pets.npz").write_bytes(npz(40_000))
        text = f"^{small}: no space left for the data set; free some, or set TRAINSERVE_CACHE to a folder with enough$"
        with pytest.raises(DataError, match=text):
            load(uri=f"file://{tmp_path}/pets.npz")
        assert kept(small) == []
        # Decoded data is written to memory-mapped files, where a full disk would crash the process.
        monkeypatch.setattr("trainserve.models.data.arrays.LARGE", 100)
        with pytest.raises(DataError, match=text):
            load(name="synthetic", options={"shape": [32, 32, 3], "samples": 2000})
        assert kept(small) == []
        assert len(load(name="synthetic", options={"shape": [8, 8, 1], "samples": 2000}).train_images) == 1600
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)


def test_a_cache_that_is_no_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRAINSERVE_CACHE", str(tmp_path / "file"))
    (tmp_path / "pets.npz").write_bytes(npz())
    with pytest.raises(DataError, match=rf"^{tmp_path}/file.*: .*; TRAINSERVE_CACHE must name a writable folder$"):
        load(uri=f"file://{tmp_path}/pets.npz")


def test_progress_is_told_in_plain_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainserve.models.data.watch.LINE_AFTER", 0)
    monkeypatch.setattr("trainserve.models.data.watch.LINE_EVERY", 0)
    lines: list[str] = []
    with Watch(lines.append).task("fetching s3://data/x", 3_000_000, "bytes") as moved:
        moved(1_000_000)
        moved(500_000)
    assert lines == ["fetching s3://data/x: 1.0 of 3.0 MB", "fetching s3://data/x: 1.5 of 3.0 MB"]


BRACKETS = "[/pets].npz"
"""Square brackets are markup in rich."""
PROGRAM = """
import sys
from trainserve.models import data
from trainserve.models.config import parse
data.load(parse({"model": {"name": "convnet"}, "dataset": {"uri": sys.argv[1]}}).dataset, 0)
"""


def test_progress_is_a_bar_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / BRACKETS).parent.mkdir()
    (tmp_path / BRACKETS).write_bytes(npz(20_000))
    ours, its = pty.openpty()
    command = [sys.executable, "-c", PROGRAM, f"file://{tmp_path}/{BRACKETS}"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "300"}
    with subprocess.Popen(command, stdout=its, stderr=its, env=environment) as process:
        os.close(its)
        shown = b""
        with contextlib.suppress(OSError):  # reading from a closed terminal raises this
            while content := os.read(ours, 65536):
                shown += content
    os.close(ours)
    assert process.returncode == 0, shown.decode()
    assert BRACKETS.encode() in shown and b"100%" in shown


def test_whoever_has_no_home_needs_a_cache_only_when_something_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRAINSERVE_CACHE")
    monkeypatch.setattr(Path, "home", lambda: Path("~nobody-of-that-name").expanduser())
    assert load(name="digits").name == "digits"
    with pytest.raises(DataError, match=r"^Could not determine home directory\. TRAINSERVE_CACHE must name a writable"):
        load(name="digits", size=[32, 32])
