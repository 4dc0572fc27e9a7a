"""Models of every kind from every source: the bytes match the digest, and no path leads outside."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.serving.sources.folders import VERSION, names
from tests.serving.sources.places import RangeServer
from trainserve import store
from trainserve.serving.sources.cache import NodeCache
from trainserve.serving.sources.origins import EscapingName
from trainserve.serving.sources.ready_repository import ReadyRepository
from trainserve.serving.sources.releases import GraphTooNew
from trainserve.serving.sources.source import open_model, open_servable
from trainserve.store import DigestMismatch, InvalidAddress, ModelNotFound, StoreError, VersionNotFound

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
