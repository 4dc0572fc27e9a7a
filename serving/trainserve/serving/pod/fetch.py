"""The init container of a serving pod: fetches a pinned model, checks every byte, writes the model repository."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainserve import store
from trainserve.api.messages import Failed, Fetched
from trainserve.api.pod import PodPath, SharedFile
from trainserve.api.reasons import Reason
from trainserve.serving.protocol.triton_types import UnservableModel
from trainserve.serving.repository import repository, unbatched
from trainserve.serving.repository.settings import InvalidSettings, Settings
from trainserve.serving.sources import download
from trainserve.serving.sources.address import parse
from trainserve.serving.sources.cache import NodeCache
from trainserve.serving.sources.request import origin_of
from trainserve.serving.sources.servable import Servable
from trainserve.serving.sources.source import open_servable
from trainserve.serving.verification.user_samples import BadSamples, Given
from trainserve.store.signing import PublicKey

_NO_BOUND = 1 << 62
_REASONS: dict[type[Exception], Reason] = {
    store.ModelNotFound: Reason.VERSION_NOT_FOUND,
    store.InvalidAddress: Reason.INVALID_ADDRESS,
    UnservableModel: Reason.UNSERVABLE_MODEL,
    InvalidSettings: Reason.INVALID_SETTINGS,
    BadSamples: Reason.INVALID_SAMPLES,
}
"""Errors without a reason of their own. Any other StoreError has one."""


@dataclass(frozen=True)
class Samples:
    """Address of real inputs for a lone graph, and the sha256:<hex> of that file if it is pinned."""

    address: str
    digest: str | None = None


def fetch_model(
    address: str,
    digest: str,
    into: Path,
    model_name: str,
    settings: Settings,
    gpus: int = 0,
    *,
    cache: NodeCache | None = None,
    key: PublicKey | None = None,
    release: str | None = None,
    buckets: Sequence[float] = (),
    samples: Samples | None = None,
    version: tuple[str, str, int] | None = None,
) -> Fetched | Failed:
    """Write `<into>/version` and `<into>/repository`; returns the termination message (docs/contracts.md).

    Also writes `<into>/batching.json`, which tells the probe whether the model is batched, and how to serve it without
    batches. `cache` is the node's, shared by its pods: files are copied out of it, so that no server can write to it.
    Without a cache, the files of an interrupted attempt are kept in `into`. The repository is written only if every
    digest and, with `key`, the signature is right. `release` is that of `open_model`, `buckets` are those of `layout`.
    `samples` of a lone graph become `<into>/given.npz`. The manifest must name the namespace, model and number in
    `version`, if given.
    """
    own = into / ".fetching"
    try:
        model = open_servable(
            address, cache=cache or NodeCache(own, _NO_BOUND), digest=digest, key=key, release=release
        )
        if version is not None and model.manifest is not None:
            model.manifest.expect(*version, address)
        _lay_out(model.folder, into / SharedFile.VERSION, link=cache is None)
        served = model.at(into / SharedFile.VERSION)
        entry = repository.Entry(model_name, served, settings)
        folders = repository.layout([entry], gpus, buckets)
        unbatched.of([entry], folders, gpus, buckets)[model_name].save(into / SharedFile.BATCHING)
        repository.write_folders(folders, into / SharedFile.REPOSITORY, ours=True)
        if samples is not None:
            _fetch_samples(samples, into / SharedFile.GIVEN, served)
    except tuple(_REASONS) as error:
        reason = next(reason for kind, reason in _REASONS.items() if isinstance(error, kind))
        return Failed(reason=reason, message=str(error))
    except store.StoreError as error:
        return Failed(reason=error.reason, message=str(error))
    except OSError as error:
        return Failed(reason=Reason.STORE_ERROR, message=f"cannot write {error.filename or into}: {error.strerror}")
    shutil.rmtree(own, ignore_errors=True)
    number: dict[str, Any] = {} if model.manifest is None else {"version": model.manifest.version}
    return Fetched(digest=digest, **number)


def _fetch_samples(samples: Samples, target: Path, model: Servable) -> None:
    """Fetch the samples to `target`. Raises BadSamples, and what `open_model` raises for an address."""
    if model.manifest is not None:
        raise BadSamples("a version of the store has its own samples")
    at = parse(samples.address, Path(PodPath.SAMPLES))
    origin = origin_of(replace(at, kind="graph"))  # one file in a folder, like a graph
    sha256 = samples.digest.removeprefix("sha256:") if samples.digest else None
    try:
        download.copy(origin, at.name, target, sha256=sha256)
    except FileNotFoundError as error:
        raise BadSamples(f"{samples.address}: there is no {error}") from None
    Given.leave(target, model)


def _lay_out(source: Path, folder: Path, link: bool) -> None:
    """Copy or link the folder `source` to `folder`, in one step."""
    for left in folder.parent.glob(f".{folder.name}-*"):  # left by an attempt that was killed
        shutil.rmtree(left)
    aside = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    try:
        shutil.copytree(source, aside, copy_function=os.link if link else shutil.copyfile)
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
