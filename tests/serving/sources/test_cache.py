"""A node's cache: each entry is fetched once, the size is bounded, and entries in use are kept."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.serving.sources.caches import fill, models
from tests.serving.sources.places import RangeServer
from trainserve.serving.sources.cache import CacheFull, NodeCache, Room
from trainserve.serving.sources.source import open_model, open_servable
from trainserve.store import DigestMismatch, StoreError


def test_a_model_is_fetched_once(server: RangeServer, cache: NodeCache) -> None:
    address = server.uri("models/default/digits/1")
    first, second = open_servable(address, cache=cache), open_servable(address, cache=cache)
    assert first == second
    assert server.gets.count("models/default/digits/1/model.onnx") == 1
    assert cache.usage().models == 1


def test_a_lone_graph_is_asked_for_again_only_when_it_has_changed(server: RangeServer, cache: NodeCache) -> None:
    address = server.uri("shapes.onnx")
    first = open_servable(address, cache=cache)
    assert open_servable(address, cache=cache).digest == first.digest
    assert server.gets == ["shapes.onnx"]
    server.files["shapes.onnx"] += b"\x32\x00"  # adds an empty doc_string: the same graph with different bytes
    assert open_servable(address, cache=cache).digest != first.digest
    assert server.gets == ["shapes.onnx", "shapes.onnx"]


def test_a_graph_that_was_replaced_while_it_came_and_is_back_is_the_one_that_is_there(
    server: RangeServer, cache: NodeCache
) -> None:
    first = server.files["shapes.onnx"]
    second = server.files["shapes.onnx"] + b"\x32\x00"
    address = server.uri("shapes.onnx")

    def replace(name: str, done: int, total: int | None) -> None:
        server.files["shapes.onnx"] = second

    server.cuts = [1_100_000]
    fetched = open_servable(address, cache=cache, progress=replace)
    assert (fetched.folder / "shapes.onnx").read_bytes() == second
    server.files["shapes.onnx"] = first
    model = open_servable(address, cache=cache)
    assert (model.folder / "shapes.onnx").read_bytes() == first


def test_with_its_digest_known_a_cached_model_needs_no_network(server: RangeServer, cache: NodeCache) -> None:
    address = server.uri("shapes.onnx")
    digest = open_servable(address, cache=cache).digest
    server.files.clear()
    assert open_servable(address, cache=cache, digest=digest).digest == digest


@pytest.mark.parametrize("path", ["shapes.onnx", "models/default/digits/1"])
def test_who_knows_a_digest_and_cannot_read_the_model_is_lent_nothing(
    server: RangeServer, tmp_path: Path, path: str
) -> None:
    cache, address = NodeCache(tmp_path / "cache", namespace="owner"), server.uri(path)
    digest = open_model(address, cache=cache).digest
    server.files.clear()  # any further request would fail
    assert open_model(address, cache=cache, digest=digest).digest == digest
    neighbour = NodeCache(tmp_path / "cache", namespace="neighbour")
    elsewhere = server.uri(f"elsewhere/{path}")
    for where, whose in ((address, neighbour), (elsewhere, cache), (elsewhere, neighbour)):
        with pytest.raises(StoreError):
            open_model(where, cache=whose, digest=digest)
    assert cache.usage().models == 1


def test_what_a_neighbours_killed_process_left_is_not_gone_on_with(server: RangeServer, tmp_path: Path) -> None:
    address, graph = server.uri("models/default/digits/1"), "models/default/digits/1/model.onnx"

    def killed(name: str, done: int, total: int | None) -> None:
        if name == "model.onnx" and done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_model(address, cache=NodeCache(tmp_path / "cache", namespace="owner"), progress=killed)
    assert server.gets.count(graph) == 1
    open_model(address, cache=NodeCache(tmp_path / "cache", namespace="neighbour"))
    assert server.gets.count(graph) == 2
    open_model(address, cache=NodeCache(tmp_path / "cache", namespace="owner"))
    assert server.gets.count(graph) == 2, "whose it is goes on with it"


def test_two_claims_are_two_origins_though_pods_mount_both_at_one_place(version: Path, tmp_path: Path) -> None:
    claim, cache = tmp_path / "claim", NodeCache(tmp_path / "cache")
    shutil.copytree(version, claim / "default/digits/1")
    digest = open_model("pvc://one/default/digits/1", cache=cache, claim=claim).digest
    shutil.rmtree(claim)
    with pytest.raises(StoreError):
        open_model("pvc://other/default/digits/1", cache=cache, claim=claim, digest=digest)


def test_one_model_under_two_addresses_is_right_under_both(server: RangeServer, cache: NodeCache) -> None:
    server.files["again.onnx"] = server.files["shapes.onnx"]
    first = open_servable(server.uri("shapes.onnx"), cache=cache)
    second = open_servable(server.uri("again.onnx"), cache=cache)
    assert first.digest == second.digest
    assert (second.folder / second.graph).is_file()


def test_a_digest_of_something_else_costs_the_cache_nothing(server: RangeServer, cache: NodeCache) -> None:
    version = open_servable(server.uri("models/default/digits/1"), cache=cache)
    with pytest.raises(DigestMismatch):
        open_model(server.uri("shapes.onnx"), cache=cache, digest=version.digest)
    assert version.folder.is_dir()


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = NodeCache(tmp_path / "cache", 3000)
    for name in ("a", "b", "c"):
        fill(cache, name, 1000).close()
    found = cache.lease(fill(cache, "a", 1000).digest)
    assert found is not None
    found.close()
    fill(cache, "d", 1000).close()
    left = {hashlib.sha256(name.encode()).hexdigest() for name in ("a", "c", "d")}
    assert models(cache) == left


def test_what_is_in_use_is_never_evicted(tmp_path: Path) -> None:
    cache = NodeCache(tmp_path / "cache", 2500)
    held = fill(cache, "held", 1000)
    fill(cache, "idle", 1000).close()
    fill(cache, "new", 1000).close()
    assert held.path.is_dir()
    assert cache.usage().models == 2
    with pytest.raises(CacheFull, match="no room for a model of 2000 bytes: 1000 of its 2500 bytes are in use"):
        fill(cache, "large", 2000)
    held.close()
    fill(cache, "large", 2000).close()
    assert not held.path.exists()


def test_what_was_here_already_is_in_use_from_when_it_is_asked_for(tmp_path: Path) -> None:
    cache = NodeCache(tmp_path / "cache", 1500)
    first = fill(cache, "held", 1000)
    first.close()
    held = cache.lease(first.digest)
    assert held is not None
    with pytest.raises(CacheFull):
        fill(cache, "new", 1000)
    assert held.path.is_dir()


def test_a_model_larger_than_the_cache_is_refused_before_it_is_fetched(server: RangeServer, tmp_path: Path) -> None:
    with pytest.raises(CacheFull, match=r"a model of \d+ bytes does not fit into a cache of 1000"):
        open_model(server.uri("models/default/digits/1"), cache=NodeCache(tmp_path / "cache", 1000))
    assert server.gets == ["models/default/digits/1/manifest.json"]


def test_a_full_disk_is_a_clear_error_and_is_left_as_it_was(
    server: RangeServer, small_disk: Callable[[str], Path]
) -> None:
    folder = small_disk("200k")
    with pytest.raises(CacheFull, match=f"{folder}: no room for a model of .* bytes are left on the disk"):
        open_model(server.uri("shapes.onnx"), cache=NodeCache(folder))
    assert not any(path.is_file() and path.stat().st_size for path in folder.rglob("*"))


def test_a_disk_that_fills_up_on_the_way_is_a_clear_error(small_disk: Callable[[str], Path]) -> None:
    folder = small_disk("200k")

    def make(room: Room) -> str:
        (room.content / "file").write_bytes(b"x" * 1_000_000)
        return "sha256:never"

    with pytest.raises(CacheFull, match=f"{folder}: no space left on the disk"):
        NodeCache(folder).fill("x", lambda: None, make)
    assert not any(path.is_file() and path.stat().st_size for path in folder.rglob("*"))


def test_a_full_disk_makes_room_by_what_is_not_used(small_disk: Callable[[str], Path]) -> None:
    cache = NodeCache(small_disk("200k"))
    fill(cache, "old", 120_000).close()
    fill(cache, "new", 120_000).close()
    assert cache.usage().models == 1


@pytest.mark.parametrize("path", ["models/default/digits/1", "shapes.onnx"])
def test_an_entry_whose_bytes_have_changed_is_fetched_anew(server: RangeServer, cache: NodeCache, path: str) -> None:
    model = open_servable(server.uri(path), cache=cache)
    broken = model.folder / model.graph
    content = bytearray(broken.read_bytes())
    content[len(content) // 2] ^= 1
    broken.chmod(0o644)
    broken.write_bytes(content)
    again = open_servable(server.uri(path), cache=cache, digest=model.digest)
    assert (again.folder / again.graph).read_bytes() != bytes(content)
    assert again.digest == model.digest


def test_entries_cannot_be_written_to(server: RangeServer, cache: NodeCache) -> None:
    model = open_servable(server.uri("shapes.onnx"), cache=cache)
    assert (model.folder / "shapes.onnx").stat().st_mode & 0o777 == 0o444
