"""Opens models: from an address to checked bytes on this disk.

Local models are used in place; others are fetched into the node's cache. A server loads a model only after its digest
and, if a key is given, its signature are verified.
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
    """Open a single graph (`open_model`). Raises InvalidAddress for a Triton repository."""
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
    """Fetch the model at `address` (address.py), and check every byte of it.

    With `cache`, local models go through it too; without, only others do, through the user's cache. The model must have
    the `digest`, be signed by the `key`, and be loadable by the server `release`, as far as these are given. Raises
    InvalidAddress, ModelNotFound, VersionNotFound, DigestMismatch, SignatureRefused, GraphTooNew, CacheFull, and other
    kinds of StoreError.
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
    """Describe what is there instead, if the store or this disk can tell. Raises VersionNotFound."""
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
