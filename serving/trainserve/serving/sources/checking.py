"""Checks of a model on this disk: every byte's digest, the signature, and whether a server can load it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from trainserve.files import durable
from trainserve.serving.sources import onnx_graph, ready_repository, releases
from trainserve.serving.sources.address import Address
from trainserve.serving.sources.fetching import Found
from trainserve.serving.sources.origins import FolderOrigin, inside, read
from trainserve.serving.sources.ready_repository import ReadyRepository
from trainserve.serving.sources.request import Request
from trainserve.serving.sources.servable import Servable
from trainserve.store import DigestMismatch, Manifest, signing
from trainserve.store.manifest import digest as digest_of
from trainserve.store.names import MANIFEST

_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")


class Damaged(Exception):
    """The cached bytes have changed; they can be fetched again."""


def checked(request: Request, found: Found) -> Servable | ReadyRepository:
    """Check every byte of the found model. Raises Damaged, and what `source.open_model` raises."""
    expected = request
    if found.lease is not None:  # cached files were copied out of the claim
        expected = replace(request, digest=found.lease.digest, address=replace(request.address, confined=None))
    try:
        model = _CHECKS[found.kind](expected, found)
    except onnx_graph.UnusableGraph as error:
        if found.spare and found.kind == "graph":  # one of a repository, whose digest is right, is the user's own
            raise Damaged from error
        raise
    except (DigestMismatch, FileNotFoundError) as error:
        if found.spare:
            raise Damaged from error
        raise
    request.check_digest(model.digest)
    return model


def _version(request: Request, found: Found) -> Servable:
    folder = found.path
    origin = FolderOrigin(folder, request.address.confined)
    content = read(origin, MANIFEST)
    request.check_digest(digest_of(content))
    _check_signature(request, origin, signing.OF_VERSION, content, found)
    manifest = Manifest.from_bytes(content, origin.where(MANIFEST))
    releases.check(manifest.opset, manifest.ir_version, request.address.text, request.server)
    for name, entry in manifest.files.items():
        inside(folder, name, request.address.confined)
        sha256 = ready_repository.sha256_of(folder / name)
        if sha256 != entry.sha256:
            raise DigestMismatch(origin.where(name), entry.sha256, sha256)
    return replace(Servable.of_version(folder), hold=found.lease)


def _graph(request: Request, found: Found) -> Servable:
    path = found.path
    origin = FolderOrigin(path.parent, request.address.confined)
    origin.stat(path.name)
    graph = onnx_graph.read(path)
    digest = ready_repository.graph_digest(path, graph)
    request.check_digest(digest)
    _check_signature(request, origin, path.name + signing.SUFFIX, digest.encode(), found)
    releases.check(graph.opset, graph.ir_version, request.address.text, request.server)
    onnx_graph.check(path)
    return Servable.of_graph(_name(request.address), path, digest, graph, hold=found.lease)


def _repository(request: Request, found: Found) -> ReadyRepository:
    folder = found.path
    digest = ready_repository.digest(folder)
    request.check_digest(digest)
    origin = FolderOrigin(folder, request.address.confined)
    _check_signature(request, origin, signing.OF_REPOSITORY, digest.encode(), found)
    return ReadyRepository(folder, ready_repository.models(folder, request.server), digest, hold=found.lease)


_CHECKS: dict[str, Callable[[Request, Found], Servable | ReadyRepository]] = {
    "graph": _graph,
    "version": _version,
    "repository": _repository,
}


def _check_signature(request: Request, here: FolderOrigin, name: str, message: bytes, found: Found) -> None:
    """Check the signature that is here, or else the one at the model's origin, which may be newer.

    A valid one from the origin is kept in the cache, so that the next check needs no network. Raises SignatureRefused.
    """
    if request.key is None:
        return
    with contextlib.suppress(FileNotFoundError, signing.SignatureRefused):
        request.check_signature(message, read(here, name))
        return
    signature = request.signature(request.address.name + signing.SUFFIX if found.kind == "graph" else name)
    request.check_signature(message, signature)
    if signature is not None and found.lease is not None:
        with contextlib.suppress(OSError):  # a full or read-only cache is no reason to refuse
            durable.write(here.folder / name, signature)


def _name(at: Address) -> str:
    """Return the name of a lone graph: its file's name, or for `model.onnx` that of its folder.

    For <model>/<version>/model.onnx of a repository, it is the model's.
    """
    stem = at.name[: -len(".onnx")]
    above = Path(at.parent)
    named = stem if stem != "model" else above.parent.name if above.name.isdecimal() else above.name
    return _UNFIT.sub("-", named).strip("-.") or "model"
