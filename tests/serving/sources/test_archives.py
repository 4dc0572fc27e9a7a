"""Models in archives: equal to unpacked ones, and no member is written outside the folder."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.serving.sources.folders import VERSION, names, packed
from tests.serving.sources.places import RangeServer
from trainserve import store
from trainserve.files import archive
from trainserve.serving.sources.cache import CacheFull, NodeCache
from trainserve.serving.sources.fetching import UnusableArchive
from trainserve.serving.sources.origins import EscapingName
from trainserve.serving.sources.ready_repository import ReadyRepository
from trainserve.serving.sources.source import open_model, open_servable


@pytest.mark.parametrize(
    ("suffix", "around"), [(".tar", ""), (".tar.gz", "repository/"), (".tgz", ""), (".zip", "repository/")]
)
def test_an_archive_of_a_repository_is_that_repository(
    server: RangeServer, ready: Path, cache: NodeCache, suffix: str, around: str
) -> None:
    server.files[f"ready{suffix}"] = packed(ready, suffix, around)
    found = open_model(server.uri(f"ready{suffix}"), cache=cache)
    assert isinstance(found, ReadyRepository)
    assert (found.models, found.digest) == (("first", "second"), open_model(str(ready)).digest)


def test_an_archive_that_unpacks_to_more_than_is_allowed_is_refused(
    server: RangeServer, ready: Path, cache: NodeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINSERVE_LIMITS", '{"version": "1Ki"}')
    for suffix in (".tar.gz", ".zip"):
        server.files[f"large{suffix}"] = packed(ready, suffix, "")
        with pytest.raises(UnusableArchive, match=r"unpacks to more than 1 KiB.*the chart's limits.version"):
            open_model(server.uri(f"large{suffix}"), cache=cache)


def test_an_archive_of_a_version_is_that_version(root: Path, tmp_path: Path, cache: NodeCache) -> None:
    (tmp_path / "version.tar.gz").write_bytes(packed(root / VERSION, ".tar.gz", "1/"))
    model = open_servable(str(tmp_path / "version.tar.gz"), cache=cache)
    assert model.digest == store.resolve(root, "default", "digits", 1).digest


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    """Return a tar archive with one member."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        info.size = 4 if kind == tarfile.REGTYPE else 0
        archive.addfile(info, io.BytesIO(b"evil"))
    return out.getvalue()


def zip_member(name: str, mode: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, "/etc/passwd")
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (member("../evil"), "'../evil' is not allowed"),
        (member("/tmp/evil"), "'/tmp/evil' is not allowed"),
        (member("m/1/../../../evil"), "is not allowed"),
        (member("m/config.pbtxt", tarfile.SYMTYPE, "/etc/passwd"), "'m/config.pbtxt' is a link"),
        (member("m/config.pbtxt", tarfile.LNKTYPE, "../../etc/passwd"), "is a link"),
        (member("m/pipe", tarfile.FIFOTYPE), "'m/pipe' is neither a file nor a folder"),
        (b"not an archive at all" * 100, "truncated, or not an archive"),
    ],
)
def test_an_archive_cannot_leave_its_folder(
    server: RangeServer, cache: NodeCache, content: bytes, words: str, tmp_path: Path
) -> None:
    server.files["x.tar"] = content
    with pytest.raises((EscapingName, UnusableArchive), match=words):
        open_model(server.uri("x.tar"), cache=cache)
    assert cache.usage().models == 0
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a\\..\\evil", "m/config.pbtxt"])
def test_a_zip_cannot_leave_its_folder(server: RangeServer, cache: NodeCache, name: str, tmp_path: Path) -> None:
    mode = stat.S_IFLNK | 0o777 if name == "m/config.pbtxt" else stat.S_IFREG | 0o644
    server.files["x.zip"] = zip_member(name, mode)
    with pytest.raises((EscapingName, UnusableArchive), match=r"is not allowed|is a link"):
        open_model(server.uri("x.zip"), cache=cache)
    assert not list(tmp_path.rglob("evil"))


def test_an_archive_that_is_cut_off_is_told(server: RangeServer, ready: Path, cache: NodeCache) -> None:
    server.files["x.tar.gz"] = packed(ready, ".tar.gz")[:-2000]
    whole = packed(ready, ".tar")
    last = whole.rindex(b"./second/config.pbtxt")
    server.files["x.tar"] = whole[:last]
    server.files["y.tar"] = whole[: last + 100] + b"damaged!" + whole[last + 108 :]
    for name in ("x.tar.gz", "x.tar", "y.tar"):
        with pytest.raises(UnusableArchive, match="truncated, or not an archive"):
            open_model(server.uri(name), cache=cache)


def test_an_archive_that_unpacks_to_more_than_the_cache_is_refused(server: RangeServer, tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/1/model.onnx", bytes(50_000_000))
    server.files["bomb.zip"] = out.getvalue()
    with pytest.raises(store.StoreError, match="does not fit into a cache of 1000000"):
        open_model(server.uri("bomb.zip"), cache=NodeCache(tmp_path / "cache", 1_000_000))


def test_of_an_archive_nothing_is_written_that_has_no_room(ready: Path, tmp_path: Path) -> None:
    (tmp_path / "ready.zip").write_bytes(packed(ready, ".zip"))

    def reserve(size: int) -> None:
        if size > 10_000:
            raise CacheFull("no room")

    (tmp_path / "unpacked").mkdir()
    bound = archive.Bound(1 << 30, "1 GiB")
    with pytest.raises(CacheFull):
        archive.unpack(
            tmp_path / "ready.zip", tmp_path / "unpacked", "ready.zip", bound, empty_folders=True, reserve=reserve
        )
    assert sum((tmp_path / "unpacked" / name).stat().st_size for name in names(tmp_path / "unpacked")) < 10_000
