"""What the init container of a serving pod does: fetch a pinned model, check every byte, write the repository."""

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


@dataclass(frozen=True)
class Samples:
    """Where real inputs for a lone graph lie, and the sha256:<hex> of that file where it is pinned."""

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
    """Makes `<into>/version`, `<into>/repository` and `<into>/batching.json`, which tells the probe how the model is
    batched, and how it is served without; returns the termination message (docs/contracts.md).

    `cache` is the node's, shared by its pods: what is taken from it is copied, so that no server can write to it.
    Without one, what a killed attempt has fetched waits in `into`. Nothing is written to the repository unless every
    digest matched and, where `key` is given, the signature. `release` as of `open_model`, `buckets` of `layout`.
    `samples` of a lone graph become `<into>/given.npz`. `version`: namespace, model and number that its manifest has to
    name, where they were asked for.
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
    except store.ModelNotFound as error:
        return _failed(Reason.VERSION_NOT_FOUND, error)
    except store.InvalidAddress as error:
        return _failed(Reason.INVALID_ADDRESS, error)
    except store.StoreError as error:
        return _failed(error.reason, error)
    except UnservableModel as error:
        return _failed(Reason.UNSERVABLE_MODEL, error)
    except InvalidSettings as error:
        return _failed(Reason.INVALID_SETTINGS, error)
    except BadSamples as error:
        return _failed(Reason.INVALID_SAMPLES, error)
    except OSError as error:
        return _failed(Reason.STORE_ERROR, f"cannot write {error.filename or into}: {error.strerror}")
    shutil.rmtree(own, ignore_errors=True)
    return Fetched(digest=digest, **_version(model))


def _fetch_samples(samples: Samples, target: Path, model: Servable) -> None:
    """Raises BadSamples, and what `open_model` does of an address and of what lies there."""
    if model.manifest is not None:
        raise BadSamples("a version of the store has samples of its own")
    at = parse(samples.address, Path(PodPath.SAMPLES))
    origin = origin_of(replace(at, kind="graph"))  # one file in a folder, as a graph is
    sha256 = samples.digest.removeprefix("sha256:") if samples.digest else None
    try:
        download.copy(origin, at.name, target, sha256=sha256)
    except FileNotFoundError as error:
        raise BadSamples(f"{samples.address}: there is no {error}") from None
    Given.leave(target, model)


def _version(model: Servable) -> dict[str, Any]:
    """A lone graph has none."""
    return {} if model.manifest is None else {"version": model.manifest.version}


def _lay_out(source: Path, folder: Path, link: bool) -> None:
    """Makes `folder` what `source` is, as a whole."""
    for left in folder.parent.glob(f".{folder.name}-*"):  # by an attempt that was killed
        shutil.rmtree(left)
    aside = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    try:
        shutil.copytree(source, aside, copy_function=os.link if link else shutil.copyfile)
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _failed(reason: Reason, message: object) -> Failed:
    return Failed(reason=reason, message=str(message))
