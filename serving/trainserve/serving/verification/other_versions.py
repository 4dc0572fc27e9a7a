"""Other versions of a model, which a server with wrong answers may be serving instead."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator

from trainserve import store
from trainserve.serving.samples.recorded import Recorded
from trainserve.serving.sources.address import Address
from trainserve.serving.sources.servable import SAMPLES
from trainserve.serving.verification.evidence import Known
from trainserve.store import Manifest, StoreError
from trainserve.store.manifest import digest
from trainserve.store.names import MANIFEST
from trainserve.store.places import place

VERSIONS = 8
"""Number of newest versions to try."""


def others(address: Address, limit: int) -> Iterator[Known]:
    """Yield the other versions of the model at `address`, newest first, each with at most `limit` samples.

    Versions with unreadable samples are skipped. An address that is not a version of the store has no others.
    """
    if address.version is None or address.place == "https":  # https has no folders to list
        return
    root, namespace, model, number = address.version
    try:
        numbers = [each for each in store.versions(root, namespace, model) if each != number]
    except StoreError:
        return
    at = place(root)
    for each in reversed(numbers[-VERSIONS:]):
        folder = f"{namespace}/{model}/{each}"
        try:
            content = at.read(f"{folder}/{MANIFEST}")
            manifest = Manifest.from_bytes(content, f"{folder}/{MANIFEST}")
            samples = at.read(f"{folder}/{SAMPLES}")
            if hashlib.sha256(samples).hexdigest() == manifest.files[SAMPLES].sha256:
                yield Known(f"version {each}", digest(content), Recorded.of(manifest, io.BytesIO(samples), limit))
        except (OSError, StoreError, ValueError, KeyError):
            continue
