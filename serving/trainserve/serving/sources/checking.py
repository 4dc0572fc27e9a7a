"""A model on this disk, every byte of it read: its digest, its signature, and whether a server can load it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from trainserve.files import durable
from trainserve.serving.sources import onnx_graph, ready, releases
from trainserve.serving.sources.address import Address
from trainserve.serving.sources.cache import Lease
from trainserve.serving.sources.inside import inside
from trainserve.serving.sources.origins import FolderOrigin, read
from trainserve.serving.sources.ready import ReadyRepository
from trainserve.serving.sources.servable import Servable
from trainserve.serving.sources.wanted import Wanted
from trainserve.store import DigestMismatch, Manifest, signing
from trainserve.store.manifest import digest as digest_of
from trainserve.store.names import MANIFEST

_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")


def opened(wanted: Wanted, path: Path, version: bool, lease: Lease | None) -> Servable | ReadyRepository:
    """The model at `path`: a version's folder, a graph's file, or a repository's folder. Every byte is read."""
    if lease is not None:  # what the cache holds was copied out of the claim
        wanted = replace(wanted, address=replace(wanted.address, confined=None))
    if wanted.address.kind == "graph":
        return _graph(wanted, path, lease)
    return _version(wanted, path, lease) if version else _repository(wanted, path, lease)


def _version(wanted: Wanted, folder: Path, lease: Lease | None) -> Servable:
    origin = FolderOrigin(folder, wanted.address.confined)
    content = read(origin, MANIFEST)
    wanted.check_digest(digest_of(content))
    _check_signature(wanted, origin, signing.OF_VERSION, content, lease)
    manifest = Manifest.from_bytes(content, origin.where(MANIFEST))
    releases.check(manifest.opset, manifest.ir_version, wanted.address.text, wanted.server)
    for name, entry in manifest.files.items():
        inside(folder, name, wanted.address.confined)
        found = ready.sha256_of(folder / name)
        if found != entry.sha256:
            raise DigestMismatch(origin.where(name), entry.sha256, found)
    return replace(Servable.of_version(folder), hold=lease)


def _graph(wanted: Wanted, path: Path, lease: Lease | None) -> Servable:
    origin = FolderOrigin(path.parent, wanted.address.confined)
    origin.stat(path.name)
    graph = onnx_graph.read(path)
    digest = graph_digest(path, graph)
    wanted.check_digest(digest)
    _check_signature(wanted, origin, path.name + signing.SUFFIX, digest.encode(), lease)
    releases.check(graph.opset, graph.ir_version, wanted.address.text, wanted.server)
    onnx_graph.check(path)
    return Servable.of_graph(_name(wanted.address), path, digest, graph, hold=lease)


def _repository(wanted: Wanted, folder: Path, lease: Lease | None) -> ReadyRepository:
    if lease is None:
        expect_repository(wanted, wanted.patient.names())
    digest = ready.digest(folder)
    wanted.check_digest(digest)
    origin = FolderOrigin(folder, wanted.address.confined)
    _check_signature(wanted, origin, signing.OF_REPOSITORY, digest.encode(), lease)
    return ReadyRepository(folder, ready.models(folder, wanted.server), digest, hold=lease)


def expect_repository(wanted: Wanted, names: Iterable[str]) -> None:
    """What has no folders in it is none, but perhaps what is left of a version that was never published."""
    if not any("/" in name for name in names):
        raise FileNotFoundError(wanted.origin.where(MANIFEST))


def graph_digest(path: Path, graph: onnx_graph.Graph) -> str:
    """Of a lone file its sha256; with external data that of the listing of all its files."""
    own = ready.sha256_of(path)
    if not graph.external:
        return f"sha256:{own}"
    beside = [(name, ready.sha256_of(path.parent / name)) for name in graph.external]
    return ready.listing_digest([(path.name, own), *beside])


def _check_signature(wanted: Wanted, here: FolderOrigin, name: str, message: bytes, lease: Lease | None) -> None:
    """Of the signature that lies here, or else of the one where the model comes from, which may be newer.

    What was good there is kept in the cache, so that the next one needs no network. Raises SignatureRefused.
    """
    if wanted.key is None:
        return
    with contextlib.suppress(FileNotFoundError, signing.SignatureRefused):
        wanted.check_signature(message, read(here, name))
        return
    found = wanted.signature(wanted.address.name + signing.SUFFIX if wanted.address.kind == "graph" else name)
    wanted.check_signature(message, found)
    if found is not None and lease is not None:
        with contextlib.suppress(OSError):  # a cache that is full, or not ours to write to, is no reason to refuse
            durable.write(here.folder / name, found)


def _name(at: Address) -> str:
    """Under which a lone graph is served: its file's name, or its folder's where the file is just `model.onnx`.

    Of a repository's <model>/<version>/model.onnx that is the model's.
    """
    stem = at.name[: -len(".onnx")]
    above = Path(at.parent)
    named = stem if stem != "model" else above.parent.name if above.name.isdecimal() else above.name
    return _UNFIT.sub("-", named).strip("-.") or "model"
