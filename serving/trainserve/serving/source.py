"""From an address of a model to its bytes on this disk, every one of them checked.

What is local is served where it lies; what is not is fetched into the node's cache. Nothing of a model is parsed by a
server before its digest matched and, where a key is given, its signature is by that key.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from trainserve import store
from trainserve.serving import archive, download, onnx_graph, ready, releases
from trainserve.serving.address import CLAIM, Address, parse
from trainserve.serving.cache import Lease, NodeCache, Room
from trainserve.serving.download import Patient
from trainserve.serving.inside import inside
from trainserve.serving.origins import FolderOrigin, HttpsOrigin, ObjectOrigin, Origin, read
from trainserve.serving.ready import ReadyRepository
from trainserve.serving.servable import Servable
from trainserve.store import DigestMismatch, InvalidAddress, Manifest, ModelNotFound, StoreError, signing
from trainserve.store.manifest import digest as digest_of
from trainserve.store.names import MANIFEST
from trainserve.store.signing import PublicKey

Progress = Callable[[str, int, int | None], None]
"""Told a file's name, its bytes that are here, and all its bytes where that is known."""

_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")


def _silent(name: str, done: int, total: int | None) -> None:
    pass


@dataclass(frozen=True)
class _Wanted:
    """What is asked of a model before it is believed."""

    address: Address
    origin: Origin
    digest: str | None
    key: PublicKey | None
    server: releases.Release | None
    progress: Progress

    @property
    def patient(self) -> Patient:
        return Patient(self.origin)

    def check_digest(self, found: str) -> None:
        if self.digest is not None and found != self.digest:
            expected, got = self.digest.removeprefix("sha256:"), found.removeprefix("sha256:")
            raise DigestMismatch(self.address.text, expected, got)

    def check_signature(self, message: bytes, signature: bytes | None) -> None:
        if self.key is not None:
            self.key.verify(message, signature, self.address.text)

    def signature(self, name: str) -> bytes | None:
        """What lies beside the model where it comes from; None where nothing does, or nobody asks."""
        try:
            return self.patient.read(name) if self.key is not None else None
        except FileNotFoundError:
            return None


def open_servable(
    address: str,
    *,
    cache: NodeCache | None = None,
    digest: str | None = None,
    key: PublicKey | None = None,
    release: str | None = releases.DEVELOPMENT,
    progress: Progress = _silent,
) -> Servable:
    """`open_model` for whoever wants one graph. Raises InvalidAddress for a ready Triton repository."""
    model = open_model(address, cache=cache, digest=digest, key=key, release=release, progress=progress)
    if isinstance(model, ReadyRepository):
        raise InvalidAddress(
            f"{address}: a ready Triton repository; one model is needed here: a version, or an .onnx file"
        )
    return model


def open_model(
    address: str,
    *,
    cache: NodeCache | None = None,
    digest: str | None = None,
    key: PublicKey | None = None,
    release: str | None = releases.DEVELOPMENT,
    progress: Progress = _silent,
    claim: Path = CLAIM,
) -> Servable | ReadyRepository:
    """The model at `address` (see trainserve.serving.address), every byte of it checked.

    With `cache` also what is local goes through it; None: only what is not, and that into the user's. `digest` is what
    the model must have, `key` whose signature it must bear, `release` the server that must be able to load it (None:
    nobody asks). Raises InvalidAddress, ModelNotFound, VersionNotFound, DigestMismatch, SignatureRefused, GraphTooNew,
    CacheFull, and StoreError or one of its kind for whatever else is wrong with it.
    """
    at = parse(address, claim)
    if at.place == "local" and at.kind == "graph" and at.confined is None:
        at = _where_it_really_lies(at)
    wanted = _Wanted(at, _origin(at), digest, key, releases.release(release) if release else None, progress)
    try:
        if at.place == "local" and at.kind != "archive" and cache is None:
            return _opened(wanted, Path(at.location), _is_version(wanted), None)
        return _cached(wanted, cache or NodeCache())
    except FileNotFoundError as error:
        raise ModelNotFound(f"{address}: {_missing(at, error)}") from None


def sign(address: str, key: signing.PrivateKey, *, claim: Path = CLAIM) -> str:
    """Check every byte of the model at `address` and lay a signature beside it; returns where. Raises as open_model."""
    at = parse(address, claim)
    if at.place == "https" or at.kind == "archive":
        raise InvalidAddress(f"{address}: nothing can be laid beside it; sign it where it is published from")
    model = open_model(address, claim=claim)
    origin = _origin(_where_it_really_lies(at) if at.place == "local" and at.kind == "graph" else at)
    if isinstance(model, ReadyRepository):
        name, message = signing.OF_REPOSITORY, model.digest.encode()
    elif model.manifest is not None:
        name, message = signing.OF_VERSION, (model.folder / MANIFEST).read_bytes()
    else:
        name, message = at.name + signing.SUFFIX, model.digest.encode()
    _put(origin, name, key.sign(message))
    return origin.where(name)


def _put(origin: Origin, name: str, content: bytes) -> None:
    if isinstance(origin, ObjectOrigin):
        origin.put(name, content)
        return
    assert isinstance(origin, FolderOrigin)
    path = origin.folder / name
    aside = path.with_name(f".{path.name}.new")
    try:
        aside.write_bytes(content)
        aside.replace(path)
    except OSError as error:
        raise StoreError.of("write", path, error) from error


def _where_it_really_lies(at: Address) -> Address:
    """A link that the user named is followed; from there on names must stay inside."""
    path = Path(at.location).resolve()
    return replace(at, parent=str(path.parent), name=path.name)


def _origin(at: Address) -> Origin:
    """Of the folder that the address is, or of the one that its file lies in."""
    base = at.location if at.kind == "folder" else at.parent
    if at.place == "https":
        return HttpsOrigin(base)
    return ObjectOrigin(base) if at.place == "object" else FolderOrigin(Path(base), at.confined)


def _is_version(wanted: _Wanted) -> bool:
    if wanted.address.kind != "folder":
        return False
    try:
        wanted.patient.stat(MANIFEST)
    except FileNotFoundError:
        return False
    return True


def _missing(at: Address, error: FileNotFoundError) -> str:
    """What there is instead, where a store can tell."""
    if at.version is not None and at.place != "https":
        root, namespace, model, number = at.version
        try:
            store.resolve(root, namespace, model, number)
        except InvalidAddress:
            pass
        except ModelNotFound:
            raise
    return f"there is no {error}"


# Checking what is on this disk.


def _opened(wanted: _Wanted, path: Path, version: bool, lease: Lease | None) -> Servable | ReadyRepository:
    """The model at `path`: a version's folder, a graph's file, or a repository's folder. Every byte is read."""
    if wanted.address.kind == "graph":
        return _graph(wanted, path, lease)
    return _version(wanted, path, lease) if version else _repository(wanted, path, lease)


def _version(wanted: _Wanted, folder: Path, lease: Lease | None) -> Servable:
    origin = FolderOrigin(folder, wanted.address.confined)
    content = read(origin, MANIFEST)
    wanted.check_digest(digest_of(content))
    wanted.check_signature(content, _signature(wanted, origin, signing.OF_VERSION, content))
    manifest = Manifest.from_bytes(content, origin.where(MANIFEST))
    releases.check(manifest.opset, manifest.ir_version, wanted.address.text, wanted.server)
    for name, entry in manifest.files.items():
        inside(folder, name, wanted.address.confined)
        found = ready.sha256_of(folder / name)
        if found != entry.sha256:
            raise DigestMismatch(origin.where(name), entry.sha256, found)
    return replace(Servable.of_version(folder), hold=lease)


def _graph(wanted: _Wanted, path: Path, lease: Lease | None) -> Servable:
    origin = FolderOrigin(path.parent, wanted.address.confined)
    origin.stat(path.name)
    graph = onnx_graph.read(path)
    digest = _graph_digest(path, graph)
    wanted.check_digest(digest)
    wanted.check_signature(digest.encode(), _signature(wanted, origin, path.name + signing.SUFFIX, digest.encode()))
    releases.check(graph.opset, graph.ir_version, wanted.address.text, wanted.server)
    onnx_graph.check(path)
    return Servable.of_graph(_name(wanted.address), path, digest, graph, hold=lease)


def _repository(wanted: _Wanted, folder: Path, lease: Lease | None) -> ReadyRepository:
    if lease is None:
        _expect_repository(wanted, wanted.patient.names())
    digest = ready.digest(folder)
    wanted.check_digest(digest)
    origin = FolderOrigin(folder, wanted.address.confined)
    wanted.check_signature(digest.encode(), _signature(wanted, origin, signing.OF_REPOSITORY, digest.encode()))
    return ReadyRepository(folder, ready.models(folder, wanted.server), digest, hold=lease)


def _expect_repository(wanted: _Wanted, names: Iterable[str]) -> None:
    """What has no folders in it is none, but perhaps what is left of a version that was never published."""
    if not any("/" in name for name in names):
        raise FileNotFoundError(wanted.origin.where(MANIFEST))


def _graph_digest(path: Path, graph: onnx_graph.Graph) -> str:
    """Of a lone file its sha256; with external data that of the listing of all its files."""
    own = ready.sha256_of(path)
    if not graph.external:
        return f"sha256:{own}"
    beside = [(name, ready.sha256_of(path.parent / name)) for name in graph.external]
    return ready.listing_digest([(path.name, own), *beside])


def _signature(wanted: _Wanted, here: FolderOrigin, name: str, message: bytes) -> bytes | None:
    """The signature that lies here if it is good, else the one where the model comes from: it may be newer."""
    if wanted.key is None:
        return None
    try:
        signature = read(here, name)
        wanted.key.verify(message, signature, wanted.address.text)
        return signature
    except (FileNotFoundError, signing.SignatureRefused):
        return wanted.signature(name)


def _name(at: Address) -> str:
    """Under which a lone graph is served: its file's name, or its folder's where the file is just `model.onnx`."""
    stem = at.name[: -len(".onnx")]
    named = Path(at.parent).name if stem == "model" else stem
    return _UNFIT.sub("-", named).strip("-.") or "model"


# Fetching into the cache.


def _cached(wanted: _Wanted, cache: NodeCache) -> Servable | ReadyRepository:
    there = cache.lease(wanted.digest) if wanted.digest is not None else None
    if there and (model := _believed(wanted, cache, there)):
        return model
    version = _is_version(wanted)
    lease = _fetch_version(wanted, cache) if version else _fetch_other(wanted, cache)
    if model := _believed(wanted, cache, lease):
        return model
    lease = _fetch_version(wanted, cache) if version else _fetch_other(wanted, cache)
    return _opened(wanted, *_entry(wanted, lease), lease)


def _believed(wanted: _Wanted, cache: NodeCache, lease: Lease) -> Servable | ReadyRepository | None:
    """The cache's entry, every byte read again; None when they are no longer what they were, and it is gone."""
    try:
        model = _opened(replace(wanted, digest=lease.digest), *_entry(wanted, lease), lease)
    except (DigestMismatch, FileNotFoundError, onnx_graph.UnusableGraph):
        cache.drop(lease)
        return None
    wanted.check_digest(model.digest)
    return model


def _entry(wanted: _Wanted, lease: Lease) -> tuple[Path, bool]:
    """The path of the model in its entry, and whether it is a version."""
    if wanted.address.kind == "graph":
        named = lease.path / wanted.address.name
        return named if named.exists() else next(lease.path.glob("*.onnx"), named), False
    return lease.path, (lease.path / MANIFEST).is_file()


def _fetch_version(wanted: _Wanted, cache: NodeCache) -> Lease:
    content = wanted.patient.read(MANIFEST)
    digest = digest_of(content)
    wanted.check_digest(digest)
    signature = wanted.signature(signing.OF_VERSION)
    wanted.check_signature(content, signature)
    manifest = Manifest.from_bytes(content, wanted.origin.where(MANIFEST))
    releases.check(manifest.opset, manifest.ir_version, wanted.address.text, wanted.server)

    def make(room: Room) -> str:
        room.reserve(len(content) + sum(entry.bytes for entry in manifest.files.values()))
        for name, entry in manifest.files.items():
            _copy(wanted, name, room, entry.sha256, entry.bytes)
        (room.content / MANIFEST).write_bytes(content)
        if signature is not None:
            (room.content / signing.OF_VERSION).write_bytes(signature)
        return digest

    if there := cache.lease(digest):
        return there
    return cache.fill(digest.removeprefix("sha256:"), lambda: digest, make)


def _fetch_other(wanted: _Wanted, cache: NodeCache) -> Lease:
    """A graph, a repository or an archive: its digest is known when all of it is here, or from an earlier time."""
    names = wanted.patient.names() if wanted.address.kind == "folder" else [wanted.address.name]
    if wanted.address.kind == "folder":
        _expect_repository(wanted, names)
    stats = {name: wanted.patient.stat(name) for name in names if name != signing.OF_REPOSITORY}
    sizes = [stat.bytes for stat in stats.values()]
    states = [[name, stat.state, stat.bytes] for name, stat in stats.items()]
    key = _hashed(wanted.address.location)
    note = None if any(stat.state is None for stat in stats.values()) else _hashed(wanted.address.location, states)

    def known() -> str | None:
        return cache.note(note) if note is not None else None

    def make(room: Room) -> str:
        if None not in sizes:
            room.reserve(sum(size or 0 for size in sizes))
        if wanted.address.kind == "graph":
            return _make_graph(wanted, room)
        if wanted.address.kind == "archive":
            return _make_unpacked(wanted, room)
        found = [(name, _copy(wanted, name, room)) for name in stats]
        _keep_only(room.content, stats)
        return ready.listing_digest(found)

    if (digest := known()) and (lease := cache.lease(digest)):
        return lease
    lease = cache.fill(key, known, make)
    whole = wanted.address.kind != "graph" or len(list(lease.path.iterdir())) == 1
    if note is not None and whole:  # of external data the graph's own state says nothing
        cache.remember(note, lease.digest)
    return lease


def _make_graph(wanted: _Wanted, room: Room) -> str:
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
    return _graph_digest(room.content / name, graph)


def _keep_only(folder: Path, names: Iterable[str]) -> None:
    """Of an earlier attempt there may be more than there is now."""
    for name in {*ready.files(folder)} - {*names}:
        (folder / name).unlink()


def _make_unpacked(wanted: _Wanted, room: Room) -> str:
    packed = room.folder / wanted.address.name
    _copy_to(wanted, wanted.address.name, packed)
    unpacked = room.folder / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    shutil.rmtree(room.content)
    size = packed.stat().st_size
    try:
        archive.unpack(packed, unpacked, wanted.address.text, lambda more: room.reserve(size + more))
    except StoreError:
        packed.unlink()
        raise
    _inner(unpacked).rename(room.content)
    shutil.rmtree(unpacked, ignore_errors=True)
    packed.unlink()
    manifest = room.content / MANIFEST
    return digest_of(manifest.read_bytes()) if manifest.is_file() else ready.digest(room.content)


def _inner(folder: Path) -> Path:
    """The folder itself, or the only one in it: archives are made either way."""
    entries = list(folder.iterdir())
    alone = entries[0] if len(entries) == 1 and entries[0].is_dir() else None
    is_model = alone is not None and (
        (alone / ready.CONFIG).exists() or any(each.name.isdecimal() for each in alone.iterdir())
    )
    return folder if alone is None or is_model else alone


def _copy(wanted: _Wanted, name: str, room: Room, sha256: str | None = None, size: int | None = None) -> str:
    return _copy_to(wanted, name, inside(room.content, name), sha256, size)


def _copy_to(wanted: _Wanted, name: str, target: Path, sha256: str | None = None, size: int | None = None) -> str:
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
