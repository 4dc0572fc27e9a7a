"""Models of every kind from every place, each with the bytes that were meant, and nothing that leads out of them."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.serving.sources.places import RangeServer
from trainserve import store
from trainserve.files import archive
from trainserve.serving.sources.cache import CacheFull, NodeCache
from trainserve.serving.sources.fetching import UnusableArchive
from trainserve.serving.sources.inside import EscapingName
from trainserve.serving.sources.ready_repository import InvalidRepository, ReadyRepository
from trainserve.serving.sources.releases import GraphTooNew
from trainserve.serving.sources.source import open_model, open_servable
from trainserve.store import DigestMismatch, InvalidAddress, ModelNotFound, StoreError, VersionNotFound

VERSION = "default/digits/1"


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# Versions.


@pytest.mark.parametrize("form", ["{root}/default/digits/1", "file://{root}/default/digits/1"])
def test_a_version_on_this_disk_is_served_where_it_lies(root: Path, form: str) -> None:
    model = open_servable(form.format(root=root))
    assert (model.name, model.folder, model.batched) == ("digits", root / VERSION, True)
    assert model.digest == store.resolve(root, "default", "digits", 1).digest
    assert model.samples == root / VERSION / "samples.npz"


def test_a_version_on_a_claim_is_read_where_the_claim_is_mounted(root: Path) -> None:
    model = open_model(f"pvc://models/{VERSION}", claim=root)
    assert (model.digest, model.folder) == (store.resolve(root, "default", "digits", 1).digest, root / VERSION)


def test_a_version_comes_from_https(server: RangeServer, cache: NodeCache, version: Path) -> None:
    model = open_servable(server.uri(f"models/{VERSION}"), cache=cache)
    assert names(model.folder) == {"manifest.json", "model.onnx", "samples.npz"}
    assert model == open_servable(str(version)).at(model.folder)


def test_a_version_comes_from_an_object_store(s3: Any, cache: NodeCache, version: Path) -> None:
    model = open_servable(f"s3://models/store/{VERSION}", cache=cache)
    assert (model.folder / "model.onnx").read_bytes() == (version / "model.onnx").read_bytes()


def test_names_with_spaces_and_letters_of_all_kinds_are_found(server: RangeServer, cache: NodeCache) -> None:
    server.files["größe/a b#1.onnx"] = server.files["shapes.onnx"]
    model = open_servable(server.uri("gr%C3%B6%C3%9Fe/a%20b%231.onnx"), cache=cache)
    assert model.name == "a-b-1"


def test_a_busy_server_costs_nothing_but_time(server: RangeServer, cache: NodeCache) -> None:
    server.statuses = [503, 0, 502, 0, 429]
    assert open_servable(server.uri(f"models/{VERSION}"), cache=cache).name == "digits"
    assert server.statuses == []


def test_without_a_home_or_a_cache_what_is_remote_has_no_place(
    server: RangeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    with pytest.raises(StoreError, match="there is no home to keep fetched models in"):
        open_model(server.uri("shapes.onnx"))


def test_what_is_remote_goes_into_the_users_cache(server: RangeServer, tmp_path: Path) -> None:
    model = open_servable(server.uri("shapes.onnx"))
    assert model.folder.is_relative_to(tmp_path / "home/.cache/trainserve/models")


@pytest.mark.parametrize("place", ["{root}", "s3://models/store"])
def test_a_version_that_is_not_there_is_told_with_those_that_are(
    root: Path, s3: Any, place: str, cache: NodeCache
) -> None:
    with pytest.raises(VersionNotFound, match="model digits: version 7 does not exist; published: 1"):
        open_model(f"{place.format(root=root)}/default/digits/7", cache=cache)
    with pytest.raises(ModelNotFound, match="models there: digits"):
        open_model(f"{place.format(root=root)}/default/letters/1", cache=cache)


def test_what_https_does_not_have_is_told(server: RangeServer, cache: NodeCache) -> None:
    with pytest.raises(StoreError, match="https has no folders to list; give the address of a version"):
        open_model(server.uri("models/default/digits/7"), cache=cache)
    with pytest.raises(ModelNotFound, match=r"there is no https://.*/absent\.onnx"):
        open_model(server.uri("absent.onnx"), cache=cache)


def test_half_of_a_version_is_none(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "store")
    (tmp_path / "store" / VERSION / "manifest.json").unlink()
    with pytest.raises(VersionNotFound, match="published: 2"):
        open_model(str(tmp_path / "store" / VERSION))


@pytest.mark.parametrize("file", ["model.onnx", "samples.npz"])
def test_every_byte_of_a_version_is_read(root: Path, tmp_path: Path, file: str) -> None:
    shutil.copytree(root / VERSION, tmp_path / "version")
    path = tmp_path / "version" / file
    path.chmod(0o644)
    with path.open("r+b") as content:
        content.seek(-1, os.SEEK_END)
        content.write(b"!")
    with pytest.raises(DigestMismatch, match=f"{path}: expected sha256:.*, found sha256:"):
        open_model(str(tmp_path / "version"))


def test_altered_bytes_from_elsewhere_are_refused(server: RangeServer, cache: NodeCache) -> None:
    server.files[f"models/{VERSION}/samples.npz"] = b"x" * len(server.files[f"models/{VERSION}/samples.npz"])
    with pytest.raises(DigestMismatch, match=r"samples\.npz: expected sha256"):
        open_model(server.uri(f"models/{VERSION}"), cache=cache)
    assert cache.usage().models == 0


@pytest.mark.parametrize("path", [f"models/{VERSION}", "shapes.onnx"])
def test_another_model_than_the_one_that_was_meant_is_refused(server: RangeServer, cache: NodeCache, path: str) -> None:
    with pytest.raises(DigestMismatch, match=f"{path}: expected sha256:{'0' * 64}"):
        open_model(server.uri(path), cache=cache, digest=f"sha256:{'0' * 64}")


@pytest.mark.parametrize("digest", ["sha256:../../etc", "0" * 64, "md5:1"])
def test_what_is_no_digest_is_refused(graph: Path, digest: str) -> None:
    with pytest.raises(InvalidAddress, match="must be sha256: and 64 hex digits"):
        open_model(str(graph), digest=digest)


def test_a_manifest_that_names_a_file_elsewhere_is_refused(server: RangeServer, cache: NodeCache) -> None:
    path = f"models/{VERSION}/manifest.json"
    server.files[path] = server.files[path].replace(b'"samples.npz"', b'"../../etc/passwd"')
    with pytest.raises(StoreError, match="is not allowed"):
        open_model(server.uri(f"models/{VERSION}"), cache=cache)


def test_a_file_of_a_version_that_is_a_link_out_of_it_is_refused(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / VERSION, tmp_path / "version")
    (tmp_path / "version/samples.npz").unlink()
    (tmp_path / "version/samples.npz").symlink_to(root / VERSION / "samples.npz")
    for cache in (None, NodeCache(tmp_path / "cache")):
        with pytest.raises(EscapingName, match=r"'samples.npz' is not allowed; it is a link that leads out"):
            open_model(str(tmp_path / "version"), cache=cache)


def test_a_version_is_checked_for_the_server_that_is_meant(root: Path) -> None:
    with pytest.raises(GraphTooNew, match=r"IR version 10 needs Triton ≥ 24\.05; Triton 24\.04"):
        open_model(str(root / VERSION), release="24.04")


# Lone graphs.


@pytest.mark.parametrize("place", ["{folder}", "file://{folder}", "s3://models/graphs"])
def test_a_lone_graph_comes_from(s3: Any, graph: Path, cache: NodeCache, place: str) -> None:
    model = open_servable(f"{place.format(folder=graph.parent)}/shapes.onnx", cache=cache)
    assert model.name == "shapes"
    assert (model.folder / model.graph).read_bytes() == graph.read_bytes()
    assert model.folder.is_relative_to(cache.folder)


def test_a_claims_models_go_through_a_cache_too(root: Path, graph: Path, cache: NodeCache) -> None:
    shutil.copy(graph, root / "lone.onnx")
    for address in (f"pvc://models/{VERSION}", "pvc://models/lone.onnx"):
        model = open_model(address, cache=cache, claim=root)
        assert not isinstance(model, ReadyRepository)
        assert model.folder.is_relative_to(cache.folder)
    (root / "lone.onnx").unlink()


def test_a_lone_graph_on_a_claim_cannot_be_a_link_out_of_it(graph: Path, tmp_path: Path) -> None:
    (tmp_path / "claim").mkdir()
    shutil.copy(graph, tmp_path / "claim/real.onnx")
    (tmp_path / "claim/inner.onnx").symlink_to("real.onnx")
    (tmp_path / "claim/outer.onnx").symlink_to(graph)
    assert open_model("pvc://c/inner.onnx", claim=tmp_path / "claim").digest
    with pytest.raises(EscapingName, match="leads out of"):
        open_model("pvc://c/outer.onnx", claim=tmp_path / "claim")


def test_a_link_that_the_user_names_is_followed(graph: Path, tmp_path: Path) -> None:
    (tmp_path / "link.onnx").symlink_to(graph)
    assert open_servable(str(tmp_path / "link.onnx")).folder == graph.parent


@pytest.mark.parametrize(
    ("path", "name"), [("resnet 50@v2.onnx", "resnet-50-v2"), ("letters/model.onnx", "letters"), ("ä.onnx", "model")]
)
def test_a_lone_graph_is_served_under_its_files_name(graph: Path, tmp_path: Path, path: str, name: str) -> None:
    (tmp_path / path).parent.mkdir(exist_ok=True)
    shutil.copy(graph, tmp_path / path)
    assert open_servable(str(tmp_path / path)).name == name


# Ready repositories.


def test_a_ready_repository_is_served_where_it_lies(ready: Path) -> None:
    found = open_model(str(ready))
    assert isinstance(found, ReadyRepository)
    assert (found.folder, found.models) == (ready, ("first", "second"))


def test_a_repository_comes_from_an_object_store_with_the_same_digest(s3: Any, ready: Path, cache: NodeCache) -> None:
    found = open_model("s3://models/ready", cache=cache)
    assert isinstance(found, ReadyRepository)
    assert found.digest == open_model(str(ready)).digest
    assert names(found.folder) == names(ready)


def test_a_repositorys_digest_is_what_the_shell_says(ready: Path) -> None:
    import subprocess

    line = r"find * -type f ! -name repository.sig | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum"
    told = subprocess.run(["bash", "-c", line], cwd=ready, capture_output=True, text=True, check=True).stdout
    assert open_model(str(ready)).digest == f"sha256:{told.split()[0]}"


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


def packed(folder: Path, suffix: str, around: str = "") -> bytes:
    out = io.BytesIO()
    if suffix == ".zip":
        with zipfile.ZipFile(out, "w") as archive:
            for name in sorted(names(folder)):
                archive.write(folder / name, around + name)
    else:
        fast = {} if suffix == ".tar" else {"compresslevel": 1}
        with tarfile.open(fileobj=out, mode="w" if suffix == ".tar" else "w:gz", **fast) as archive:
            archive.add(folder, around or ".")
    return out.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    """A tar archive of one member."""
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


@pytest.fixture
def repository(ready: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(ready, tmp_path / "repository"))


def spoil_config(folder: Path) -> None:
    (folder / "second/config.pbtxt").write_text("max_batch_size: many")


def spoil_name(folder: Path) -> None:
    (folder / "second/config.pbtxt").write_text('name: "first"')


def drop_version(folder: Path) -> None:
    shutil.rmtree(folder / "second/1")


def drop_graph(folder: Path) -> None:
    (folder / "second/1/model.onnx").rename(folder / "second/1/other")


def version_zero(folder: Path) -> None:
    (folder / "second/1").rename(folder / "second/0")


def spoil_graph(folder: Path) -> None:
    (folder / "second/1/model.onnx").write_bytes(b"\x89PNG\r\n")


def link_out(folder: Path) -> None:
    (folder / "second/1/extra").symlink_to("/etc/passwd")


def link_folder(folder: Path) -> None:
    (folder / "third").symlink_to("second")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "second/pipe")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_config, r"second/config\.pbtxt: .*max_batch_size|second/config\.pbtxt: .*integer"),
        (spoil_name, "name: 'first' must be that of its folder, 'second'"),
        (drop_version, "second: holds no version"),
        (drop_graph, r"second/1/model\.onnx: missing"),
        (version_zero, "second/0: not a version"),
        (spoil_graph, r"second/1/model\.onnx: not an ONNX file"),
        (link_out, "'second/1/extra' is not allowed; it is a link that leads out"),
        (link_folder, "a (symbolic )?link to a folder is not allowed"),
        (pipe, "second/pipe: neither a file nor a folder"),
    ],
)
def test_every_model_of_a_repository_is_checked(
    repository: Path, spoil: Callable[[Path], None], words: str, cache: NodeCache
) -> None:
    spoil(repository)
    with pytest.raises(StoreError, match=words):
        open_model(str(repository))
    with pytest.raises(StoreError):
        open_model(str(repository), cache=cache)


ENSEMBLE = """
name: "both" platform: "ensemble" max_batch_size: 8
input { name: "images" data_type: TYPE_UINT8 dims: [28, 28, 1] }
output { name: "probabilities" data_type: TYPE_FP32 dims: [10] }
ensemble_scheduling { step {
  model_name: "first" model_version: -1
  input_map { key: "images" value: "images" }
  output_map { key: "probabilities" value: "probabilities" }
} }
"""


def test_an_ensembles_empty_folder_is_kept_where_archives_keep_none(
    server: RangeServer, repository: Path, cache: NodeCache
) -> None:
    (repository / "both").mkdir()
    (repository / "both/config.pbtxt").write_text(ENSEMBLE)
    with pytest.raises(InvalidRepository, match="both: holds no version"):
        open_model(str(repository))
    server.files["ready.zip"] = packed(repository, ".zip")
    found = open_model(server.uri("ready.zip"), cache=cache)
    assert isinstance(found, ReadyRepository)
    assert found.models == ("both", "first", "second")
    assert (found.folder / "both/1").is_dir()


def test_a_folder_without_any_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder/.hidden").mkdir(parents=True)
    (tmp_path / "folder/.hidden/file").write_text("")
    with pytest.raises(InvalidRepository, match="holds no model"):
        open_model(str(tmp_path / "folder"))


def test_where_one_graph_is_needed_a_repository_is_refused(ready: Path) -> None:
    with pytest.raises(InvalidAddress, match="a ready Triton repository; one model is needed here"):
        open_servable(str(ready))
