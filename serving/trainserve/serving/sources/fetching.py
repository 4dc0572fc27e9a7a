"""Locations of a model on this disk: its own folder, or an entry of the node's cache, which is filled once."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainserve import files
from trainserve.api import limits
from trainserve.api.reasons import Reason
from trainserve.files import archive
from trainserve.serving.sources import download, onnx_graph, ready_repository, releases
from trainserve.serving.sources.cache import Lease, NodeCache, Room
from trainserve.serving.sources.origins import EscapingName, Stat, inside
from trainserve.serving.sources.request import Request
from trainserve.store import Manifest, StoreError, signing
from trainserve.store.manifest import digest as digest_of
from trainserve.store.names import MANIFEST


class UnusableArchive(StoreError):
    """An archive is damaged, or has a member that is not allowed; the message names it."""

    reason = Reason.UNSERVABLE_MODEL


@dataclass(frozen=True)
class Found:
    """A model on this disk that is not checked yet: the folder of a version or repository, or a graph's file.

    `lease` is that of its cache entry, if it is in the cache. `spare` says whether there is another place to try if the
    bytes are wrong.
    """

    path: Path
    kind: Literal["version", "graph", "repository"]
    lease: Lease | None = None
    spare: bool = False


def places(request: Request, cache: NodeCache | None) -> Iterator[Found]:
    """Yield the places of the model on this disk: its own folder if it is local and there is no `cache`.

    Any other model is fetched into the cache (None: the user's). Asking for the next place means that the one before
    was damaged: it is removed from the cache. Raises what `source.open_model` raises.
    """
    at = request.address
    if at.place == "local" and at.kind != "archive" and cache is None:
        yield Found(Path(at.location), _kind(request))
        return
    cache = (cache or NodeCache()).of(
        at.location if at.confined is None else at.text
    )  # all claims have the same mount path
    if request.digest is not None and (lease := cache.lease(request.digest)):
        yield _entry(request, lease, spare=True)
        cache.drop(lease)
    fetch = _fetch_version if at.kind == "folder" and _has_manifest(request) else _fetch_other
    lease = fetch(request, cache)
    yield _entry(request, lease, spare=True)
    cache.drop(lease)
    yield _entry(request, fetch(request, cache), spare=False)


def _kind(request: Request) -> Literal["version", "graph", "repository"]:
    if request.address.kind == "graph":
        return "graph"
    if _has_manifest(request):
        return "version"
    _expect_repository(request, request.patient.names())
    return "repository"


def _has_manifest(request: Request) -> bool:
    try:
        request.patient.stat(MANIFEST)
    except FileNotFoundError:
        return False
    return True


def _expect_repository(request: Request, names: Iterable[str]) -> None:
    """Raise FileNotFoundError if `names` has no folders: it may be the rest of a version that was never published."""
    if not any("/" in name for name in names):
        raise FileNotFoundError(request.origin.where(MANIFEST))


def _entry(request: Request, lease: Lease, *, spare: bool) -> Found:
    if request.address.kind == "graph":
        return Found(lease.path / request.address.name, "graph", lease, spare)
    return Found(lease.path, "version" if (lease.path / MANIFEST).is_file() else "repository", lease, spare)


def _fetch_version(request: Request, cache: NodeCache) -> Lease:
    content = request.patient.read(MANIFEST)
    digest = digest_of(content)
    request.check_digest(digest)
    request.check_signature(content, request.signature(signing.OF_VERSION))
    manifest = Manifest.from_bytes(content, request.origin.where(MANIFEST))
    releases.check(manifest.opset, manifest.ir_version, request.address.text, request.server)

    def make(room: Room) -> str:
        room.reserve(len(content) + sum(entry.bytes for entry in manifest.files.values()))
        for name, entry in manifest.files.items():
            _copy(request, name, room, entry.sha256, entry.bytes)
        (room.content / MANIFEST).write_bytes(content)
        return digest

    if there := cache.lease(digest):
        return there
    return cache.fill(digest.removeprefix("sha256:"), lambda: digest, make)


def _fetch_other(request: Request, cache: NodeCache) -> Lease:
    """Fetch a graph, a repository or an archive, whose digest is known only afterwards, or from an earlier fetch."""
    names = request.patient.names() if request.address.kind == "folder" else [request.address.name]
    if request.address.kind == "folder":
        _expect_repository(request, names)
    names = [name for name in names if name != signing.OF_REPOSITORY]
    stats = _stats(request, names)
    sizes = [stat.bytes for stat in stats]
    key = _hashed(request.address.location)
    told = None not in [stat.state for stat in stats]
    note = _hashed(key, names, [[stat.state, stat.bytes] for stat in stats]) if told else None

    def known() -> str | None:
        return cache.note(note) if note is not None else None

    def make(room: Room) -> str:
        if None not in sizes:
            room.reserve(sum(size or 0 for size in sizes))
        if request.address.kind == "graph":
            digest = _make_graph(request, room)
        elif request.address.kind == "archive":
            digest = _make_unpacked(request, room)
        else:
            digest = _make_repository(request, room, names)
        alone = request.address.kind != "graph" or len(ready_repository.files(room.content)) == 1
        # The graph's state does not cover its external data; and a file that changed meanwhile may change back.
        if note is not None and alone and _stats(request, names) == stats:
            cache.remember(note, digest)
        return digest

    if (digest := known()) and (lease := cache.lease(digest)):
        return lease
    return cache.fill(key, known, make)


def _stats(request: Request, names: Iterable[str]) -> list[Stat]:
    return [request.patient.stat(name) for name in names]


def _make_repository(request: Request, room: Room, names: Collection[str]) -> str:
    found = [(name, _copy(request, name, room)) for name in names]
    _keep_only(room.content, names)
    ready_repository.restore_ensembles(room.content)
    return ready_repository.listing_digest(found)


def _make_graph(request: Request, room: Room) -> str:
    name = request.address.name
    _copy(request, name, room)
    try:
        graph = onnx_graph.read(room.content / name)
        for external in graph.external:
            _copy(request, external, room)
        onnx_graph.check(room.content / name)
    except onnx_graph.UnusableGraph:
        shutil.rmtree(room.content)  # a complete file that is no graph must not be resumed
        raise
    _keep_only(room.content, [name, *graph.external])
    return ready_repository.graph_digest(room.content / name, graph)


def _keep_only(folder: Path, names: Iterable[str]) -> None:
    """Remove files of an earlier attempt that the model no longer has."""
    for name in {*ready_repository.files(folder)} - {*names}:
        (folder / name).unlink()


def _make_unpacked(request: Request, room: Room) -> str:
    packed = room.folder / request.address.name
    _copy_to(request, request.address.name, packed)
    unpacked = room.folder / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    shutil.rmtree(room.content)
    unpacked.mkdir()
    size, most = packed.stat().st_size, limits.current().bytes("version")
    bound = archive.Bound(most, f"{limits.told(most)} (the chart's limits.version)")

    def reserve(more: int) -> None:
        room.reserve(size + more)

    try:
        archive.unpack(packed, unpacked, request.address.text, bound, empty_folders=True, reserve=reserve)
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
    ready_repository.restore_ensembles(room.content)
    return ready_repository.digest(room.content)


def _inner(folder: Path) -> Path:
    """Return the model's folder: the unpacked folder itself, or the only folder in it."""
    entries = list(folder.iterdir())
    alone = entries[0] if len(entries) == 1 and entries[0].is_dir() else None
    is_model = alone is not None and (
        (alone / ready_repository.CONFIG).exists() or any(each.name.isdecimal() for each in alone.iterdir())
    )
    return folder if alone is None or is_model else alone


def _copy(request: Request, name: str, room: Room, sha256: str | None = None, size: int | None = None) -> str:
    return _copy_to(request, name, inside(room.content, name), sha256, size)


def _copy_to(request: Request, name: str, target: Path, sha256: str | None = None, size: int | None = None) -> str:
    return download.copy(
        request.origin,
        name,
        target,
        sha256=sha256,
        size=size,
        moved=lambda done, total: request.progress(name, done, total),
    )


def _hashed(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
