"""Checks before a ModelServe is accepted: a chain of small pure functions, of which the first refusal is shown."""

from __future__ import annotations

from trainserve.api.modelserve import ModelServeSpec
from trainserve.api.support import unsupported
from trainserve.operator.blocked import Refusal
from trainserve.operator.modelserve.observed import Observed
from trainserve.operator.modelserve.pod import settings_argument
from trainserve.operator.settings import Settings
from trainserve.operator.store import StoreRoot

MAX_SETTINGS = 64 * 1024
"""Maximum size of the settings in bytes; Linux limits an argument to 128 KiB."""


def accepted(observed: Observed, settings: Settings) -> ModelServeSpec | Refusal:
    """Return the spec, or the first refusal, in the order in which a user would fix the problems."""
    spec = observed.spec
    if isinstance(spec, Refusal):
        return spec
    return (
        _not_supported(spec)
        or _foreign_folder(spec.model.uri, observed.identity.namespace, settings.store)
        or _too_long(spec)
        or settings.refuse_scrape(spec.pod)
        or spec
    )


def _not_supported(spec: ModelServeSpec) -> Refusal | None:
    """Refuse fields of the API that this operator would ignore."""
    problems = unsupported(spec)
    return Refusal("NotSupported", "\n".join(problems)) if problems else None


def _foreign_folder(uri: str | None, own: str, store: StoreRoot) -> Refusal | None:
    """Refuse another namespace's folder of the store, and a folder of the node outside the store.

    Otherwise every author of a ModelServe could read any such folder.
    """
    if uri is not None and store.foreign(uri, own):
        return Refusal(
            "Invalid",
            f"spec.model.uri: {uri!r} is in this cluster's model store, but not in this namespace's folder of it,"
            f" {store.public}/{own}",
        )
    if uri is None or not uri.startswith("file://") or store.path_of(uri) is not None:
        return None
    return Refusal(
        "Invalid",
        f"spec.model.uri: {uri!r} is not in this cluster's model store, {store.public}; a folder of the node"
        " can only be served from there",
    )


def _too_long(spec: ModelServeSpec) -> Refusal | None:
    """Refuse settings that are too large to pass to a pod: they are one argument of its command, which Linux limits."""
    size = len(settings_argument(spec.triton).encode())
    if size <= MAX_SETTINGS:
        return None
    return Refusal("Invalid", f"spec.triton: {size} bytes as JSON, at most {MAX_SETTINGS} can be passed to a pod")
