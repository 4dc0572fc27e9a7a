"""Archives of image folders: read like the folder inside; no member is written outside the target."""

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainserve.models.data import digests
from trainserve.models.errors import DataError

from .data_files import folder, kept, load


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAINSERVE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def archive(path: Path, root: Path) -> Path:
    """Write an archive of all files below `root`, inside one top-level folder."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as zipped:
            for file in digests.files(root):
                zipped.write(file, f"pets/{file.relative_to(root)}")
    else:
        with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as packed:
            packed.add(root, "pets")
    return path


ARCHIVES = ["pets.tar", "pets.tar.gz", "pets.tgz", "pets.zip"]


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_is_the_folder_that_is_in_it(tmp_path: Path, cache: Path, name: str) -> None:
    root = folder(tmp_path / "pets", ("train", "test"))
    path = archive(tmp_path / name, root)
    from_folder, from_archive = load(path=str(root)), load(path=str(path), digest=digests.of(path))
    assert np.array_equal(from_archive.train_images, from_folder.train_images)
    assert (from_archive.name, from_archive.labels) == ("pets", ["cat", "dog"])
    assert f"unpacked-{digests.of(path)[7:]}" in kept(cache)


@pytest.mark.parametrize("name", ARCHIVES)
@pytest.mark.parametrize("share", [0, 0.3, 0.7, 0.9])
def test_a_truncated_archive_is_named_and_nothing_is_kept(tmp_path: Path, cache: Path, name: str, share: float) -> None:
    path = archive(tmp_path / name, folder(tmp_path / "pets", count=100))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share) // 512 * 512])
    with pytest.raises(DataError, match=f"^{path}: truncated, or not an archive: "):
        load(path=str(path))
    assert kept(cache) == []


def test_an_image_in_an_archive_is_named_by_its_place_there(tmp_path: Path) -> None:
    root = folder(tmp_path / "pets")
    (root / "train/dog/0012.png").write_text("hello")
    path = archive(tmp_path / "pets.zip", root)
    places: list[dict[str, Any]] = [{"path": str(path)}, {"uri": f"file://{path}"}]
    for given in places:
        named = f"{next(iter(given.values()))}/pets/train/dog/0012.png"
        with pytest.raises(DataError, match=f"^{named}: not a picture that can be read .*: it begins with 68656c6c"):
            load(**given)


def member(name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content) if kind == tarfile.REGTYPE else 0, kind, target
    return info


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ([member("../escaped")], r"'\.\./escaped' is not allowed; names must lead to files inside of it"),
        ([member("train/../../escaped")], r"'train/\.\./\.\./escaped' is not allowed"),
        ([member("/tmp/escaped")], r"'/tmp/escaped' is not allowed"),
        (
            [member("link", kind=tarfile.SYMTYPE, target="/tmp")],
            r"'link' is a link; only files and folders",
        ),
        ([member("link", kind=tarfile.LNKTYPE, target="/etc/passwd")], r"'link' is a link"),
        ([member("null", kind=tarfile.CHRTYPE)], r"'null' is neither a file nor a folder"),
        ([member("a"), member("a")], r"contains 'a' twice"),
        ([member("a"), member("a/b")], r"'a/b' is not allowed; it lies below a file"),
    ],
)
def test_a_member_cannot_leave_its_folder(
    tmp_path: Path, cache: Path, members: list[tarfile.TarInfo], text: str
) -> None:
    path = tmp_path / "pets.tar"
    with tarfile.open(path, "w") as packed:
        for info in members:
            packed.addfile(info, io.BytesIO(b"x") if info.isfile() else None)
    with pytest.raises(DataError, match=f"^{path}: {text}"):
        load(path=str(path))
    assert kept(cache) == []
    assert not [*tmp_path.rglob("*escaped*"), *Path("/tmp").glob("escaped")]


@pytest.mark.parametrize("name", ["../escaped", "/escaped", "train/../../escaped", "..\\escaped"])
def test_a_zips_member_cannot_leave_its_folder(tmp_path: Path, cache: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as packed:
        packed.writestr(name, "x")
    with pytest.raises(DataError, match=r"pets\.zip: .*escaped' is not allowed; names must lead to files inside of it"):
        load(path=str(tmp_path / "pets.zip"))
    assert kept(cache) == []


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_unpacks_to_more_than_is_allowed_is_refused_and_nothing_is_kept(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    root = folder(tmp_path / "pets")
    (root / "zeros.txt").write_bytes(bytes(70_000))
    path = archive(tmp_path / name, root)
    monkeypatch.setenv("TRAINSERVE_LIMITS", '{"dataset": "64Ki"}')
    with pytest.raises(DataError, match=r"unpacks to more than 64 KiB.*limits.dataset"):
        load(path=str(path))
    assert not any("unpacked" in each for each in kept(cache))


def test_what_a_member_says_of_the_next_is_not_read_into_memory_however_long(tmp_path: Path) -> None:
    path = tmp_path / "pets.tar"
    with path.open("wb") as file:
        told = tarfile.TarInfo("././@LongLink")
        told.type, told.size = tarfile.GNUTYPE_LONGNAME, 2 << 20
        file.write(told.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(DataError, match="a header of 2097152 bytes"):
        load(path=str(path))
