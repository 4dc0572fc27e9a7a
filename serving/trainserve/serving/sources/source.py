"""From an address of a model to its bytes on this disk, every one of them checked.

What is local is served where it lies; what is not is fetched into the node's cache. Nothing of a model is loaded by a
server before its digest matched and, where a key is given, its signature is by that key.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from trainserve import store
from trainserve.api.scalars.address import DIGEST_PATTERN
from trainserve.serving.sources import not_onnx, releases
from trainserve.serving.sources.address import CLAIM, Address, locate
from trainserve.serving.sources.cache import NodeCache
from trainserve.serving.sources.checking import Damaged, checked
from trainserve.serving.sources.fetching import places
from trainserve.serving.sources.ready_repository import ReadyRepository
from trainserve.serving.sources.request import Progress, Request, origin_of, silent
from trainserve.serving.sources.servable import Servable
from trainserve.store import InvalidAddress, ModelNotFound
from trainserve.store.signing import PublicKey

_DIGEST = re.compile(DIGEST_PATTERN)


def open_servable(
    address: str,
    *,
    cache: NodeCache | None = None,
    digest: str | None = None,
    key: PublicKey | None = None,
    release: str | None = releases.DEVELOPMENT,
    progress: Progress = silent,
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
    progress: Progress = silent,
    claim: Path = CLAIM,
) -> Servable | ReadyRepository:
    """The model at `address` (see trainserve.serving.sources.address), every byte of it checked.

    With `cache` also what is local goes through it; None: only what is not, and that into the user's. `digest` is what
    the model must have, `key` whose signature it must bear, `release` the server that must be able to load it (None:
    nobody asks). Raises InvalidAddress, ModelNotFound, VersionNotFound, DigestMismatch, SignatureRefused, GraphTooNew,
    CacheFull, and StoreError or one of its kind for whatever else is wrong with it.
    """
    if digest is not None and not _DIGEST.fullmatch(digest):
        raise InvalidAddress(f"digest {digest!r} is not allowed; must be sha256: and 64 hex digits")
    at = locate(address, claim)
    server = releases.release(release) if release else None
    request = Request(at, origin_of(at), digest, key, server, progress)
    try:
        for found in places(request, cache):
            with contextlib.suppress(Damaged):
                return checked(request, found)
    except FileNotFoundError as error:
        raise ModelNotFound(f"{address}: {_missing(at, error)}") from None
    raise AssertionError("the last place has no spare")


def _missing(at: Address, error: FileNotFoundError) -> str:
    """What there is instead, where the store or this disk can tell."""
    if at.version is not None and at.place != "https":
        root, namespace, model, number = at.version
        try:
            store.resolve(root, namespace, model, number)
        except InvalidAddress:
            pass
        except ModelNotFound:
            raise
    here = Path(at.location)
    if at.place != "local" or at.confined is not None:
        return f"there is no {error}"
    if here.is_file():
        why = not_onnx.of_file(here)
        return why or "neither an .onnx file, nor an archive (.tar, .tar.gz, .tgz, .zip), nor a folder"
    if here.is_dir():
        return not_onnx.of_folder([each.name for each in here.iterdir()], at.text)
    return f"there is no {error}"
