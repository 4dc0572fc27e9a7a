"""A model from elsewhere, by way of the node's cache: fetched once, and read again each time it is opened."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from trainserve import files
from trainserve.api import limits
from trainserve.files import archive
from trainserve.serving.sources import download, onnx_graph, ready, releases
from trainserve.serving.sources.cache import Lease, NodeCache, Room
from trainserve.serving.sources.checking import expect_repository, graph_digest, opened
from trainserve.serving.sources.inside import EscapingName, inside
from trainserve.serving.sources.origins import Stat
from trainserve.serving.sources.ready import ReadyRepository
from trainserve.serving.sources.servable import Servable
from trainserve.serving.sources.wanted import Wanted, is_version
from trainserve.store import DigestMismatch, Manifest, StoreError, signing
from trainserve.store.manifest import digest as digest_of
from trainserve.store.names import MANIFEST


class UnusableArchive(StoreError):
    """An archive that is damaged, or has members that are not allowed; the message names the member."""

    reason = "UnservableModel"


def cached(wanted: Wanted, cache: NodeCache) -> Servable | ReadyRepository:
    """The model out of the cache, put there first where it is not. Raises as `source.open_model`."""
    cache = cache.of(_origin(wanted))
    there = cache.lease(wanted.digest) if wanted.digest is not None else None
    if there and (model := _believed(wanted, cache, there)):
        return model
    version = is_version(wanted)
    lease = _fetch_version(wanted, cache) if version else _fetch_other(wanted, cache)
    if model := _believed(wanted, cache, lease):
        return model
    lease = _fetch_version(wanted, cache) if version else _fetch_other(wanted, cache)
    return opened(wanted, *_entry(wanted, lease), lease)


def _believed(wanted: Wanted, cache: NodeCache, lease: Lease) -> Servable | ReadyRepository | None:
    """The cache's entry, every byte read again; None when they are no longer what they were, and it is gone."""
    try:
        model = opened(replace(wanted, digest=lease.digest), *_entry(wanted, lease), lease)
    except (DigestMismatch, FileNotFoundError, onnx_graph.UnusableGraph) as error:
        if isinstance(error, onnx_graph.UnusableGraph) and wanted.address.kind != "graph":
            raise  # one of a repository, whose digest was right
        cache.drop(lease)
        return None
    wanted.check_digest(model.digest)
    return model


def _origin(wanted: Wanted) -> str:
    """Where a model comes from: of a claim its name, since every claim is mounted at the same place."""
    return wanted.address.location if wanted.address.confined is None else wanted.address.text


def _entry(wanted: Wanted, lease: Lease) -> tuple[Path, bool]:
    """The path of the model in its entry, and whether it is a version."""
    if wanted.address.kind == "graph":
        return lease.path / wanted.address.name, False
    return lease.path, (lease.path / MANIFEST).is_file()


def _fetch_version(wanted: Wanted, cache: NodeCache) -> Lease:
    content = wanted.patient.read(MANIFEST)
    digest = digest_of(content)
    wanted.check_digest(digest)
    wanted.check_signature(content, wanted.signature(signing.OF_VERSION))
    manifest = Manifest.from_bytes(content, wanted.origin.where(MANIFEST))
    releases.check(manifest.opset, manifest.ir_version, wanted.address.text, wanted.server)

    def make(room: Room) -> str:
        room.reserve(len(content) + sum(entry.bytes for entry in manifest.files.values()))
        for name, entry in manifest.files.items():
            _copy(wanted, name, room, entry.sha256, entry.bytes)
        (room.content / MANIFEST).write_bytes(content)
        return digest

    if there := cache.lease(digest):
        return there
    return cache.fill(digest.removeprefix("sha256:"), lambda: digest, make)


def _fetch_other(wanted: Wanted, cache: NodeCache) -> Lease:
    """A graph, a repository or an archive: its digest is known when all of it is here, or from an earlier time."""
    names = wanted.patient.names() if wanted.address.kind == "folder" else [wanted.address.name]
    if wanted.address.kind == "folder":
        expect_repository(wanted, names)
    names = [name for name in names if name != signing.OF_REPOSITORY]
    stats = _stats(wanted, names)
    sizes = [stat.bytes for stat in stats]
    key = _hashed(wanted.address.location)
    told = None not in [stat.state for stat in stats]
    note = _hashed(key, names, [[stat.state, stat.bytes] for stat in stats]) if told else None

    def known() -> str | None:
        return cache.note(note) if note is not None else None

    def make(room: Room) -> str:
        if None not in sizes:
            room.reserve(sum(size or 0 for size in sizes))
        if wanted.address.kind == "graph":
            digest = _make_graph(wanted, room)
        elif wanted.address.kind == "archive":
            digest = _make_unpacked(wanted, room)
        else:
            digest = _make_repository(wanted, room, names)
        alone = wanted.address.kind != "graph" or len(ready.files(room.content)) == 1
        # Of external data the graph's own state says nothing; and what was replaced meanwhile may come back.
        if note is not None and alone and _stats(wanted, names) == stats:
            cache.remember(note, digest)
        return digest

    if (digest := known()) and (lease := cache.lease(digest)):
        return lease
    return cache.fill(key, known, make)


def _stats(wanted: Wanted, names: Iterable[str]) -> list[Stat]:
    return [wanted.patient.stat(name) for name in names]


def _make_repository(wanted: Wanted, room: Room, names: Collection[str]) -> str:
    found = [(name, _copy(wanted, name, room)) for name in names]
    _keep_only(room.content, names)
    ready.restore_ensembles(room.content)
    return ready.listing_digest(found)


def _make_graph(wanted: Wanted, room: Room) -> str:
    name = wanted.address.name
    _copy(wanted, name, room)
    try:
        graph = onnx_graph.read(room.content / name)
        for external in graph.external:
            _copy(wanted, external, room)
        onnx_graph.check(room.content / name)
    except onnx_graph.UnusableGraph:
        shutil.rmtree(room.content)  # it came whole, and it is no graph: not to be gone on with
        raise
    _keep_only(room.content, [name, *graph.external])
    return graph_digest(room.content / name, graph)


def _keep_only(folder: Path, names: Iterable[str]) -> None:
    """Of an earlier attempt there may be more than there is now."""
    for name in {*ready.files(folder)} - {*names}:
        (folder / name).unlink()


def _make_unpacked(wanted: Wanted, room: Room) -> str:
    packed = room.folder / wanted.address.name
    _copy_to(wanted, wanted.address.name, packed)
    unpacked = room.folder / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    shutil.rmtree(room.content)
    unpacked.mkdir()
    size, most = packed.stat().st_size, limits.current().bytes("version")
    bound = archive.Bound(most, f"{limits.told(most)}, all that is allowed (the chart's limits.version)")

    def reserve(more: int) -> None:
        room.reserve(size + more)

    try:
        archive.unpack(packed, unpacked, wanted.address.text, bound, empty_folders=True, reserve=reserve)
    except (files.EscapingName, archive.UnusableArchive, StoreError) as error:
        packed.unlink()
        if isinstance(error, StoreError):
            raise
        raise (EscapingName if isinstance(error, files.EscapingName) else UnusableArchive)(str(error)) from None
    _inner(unpacked).rename(room.content)
    shutil.rmtree(unpacked, ignore_errors=True)
    packed.unlink()
    manifest = room.content / MANIFEST
    if manifest.is_file():
        return digest_of(manifest.read_bytes())
    ready.restore_ensembles(room.content)
    return ready.digest(room.content)


def _inner(folder: Path) -> Path:
    """The folder itself, or the only one in it: archives are made either way."""
    entries = list(folder.iterdir())
    alone = entries[0] if len(entries) == 1 and entries[0].is_dir() else None
    is_model = alone is not None and (
        (alone / ready.CONFIG).exists() or any(each.name.isdecimal() for each in alone.iterdir())
    )
    return folder if alone is None or is_model else alone


def _copy(wanted: Wanted, name: str, room: Room, sha256: str | None = None, size: int | None = None) -> str:
    return _copy_to(wanted, name, inside(room.content, name), sha256, size)


def _copy_to(wanted: Wanted, name: str, target: Path, sha256: str | None = None, size: int | None = None) -> str:
    return download.copy(
        wanted.origin,
        name,
        target,
        sha256=sha256,
        size=size,
        moved=lambda done, total: wanted.progress(name, done, total),
    )


def _hashed(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
