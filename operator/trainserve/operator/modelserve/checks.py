"""Why a ModelServe is not accepted: a chain of small pure functions; the first that objects is heard."""

from __future__ import annotations

from trainserve.api.support import unsupported
from trainserve.operator.modelserve.pod import settings_argument
from trainserve.operator.plan import Object
from trainserve.operator.refusal import Refusal
from trainserve.operator.settings import Settings
from trainserve.operator.specs import InvalidSpec, parse_modelserve

MAX_SETTINGS = 64 * 1024
"""Bytes; an argument may have 128 KiB."""


def invalid_spec(serve: Object, settings: Settings) -> Refusal | None:
    """Object with the field's path, its value and what is allowed."""
    try:
        parse_modelserve(serve)
    except InvalidSpec as error:
        return Refusal("Invalid", str(error))
    return None


def not_supported(serve: Object, settings: Settings) -> Refusal | None:
    """Object with the fields that would be ignored."""
    problems = unsupported(parse_modelserve(serve))
    return Refusal("NotSupported", "\n".join(problems)) if problems else None


def foreign_folder(serve: Object, settings: Settings) -> Refusal | None:
    """Object to what is not this namespace's in the store, and to a folder of the node that is not the store's: whoever
    may write a ModelServe could read any."""
    uri, own = parse_modelserve(serve).model.uri, serve["metadata"]["namespace"]
    if uri is not None and settings.store.foreign(uri, own):
        return Refusal(
            "Invalid",
            f"spec.model.uri: {uri!r} is in this cluster's model store, but not in this namespace's folder of it,"
            f" {settings.store.public}/{own}",
        )
    if uri is None or not uri.startswith("file://") or settings.store.path_of(uri) is not None:
        return None
    return Refusal(
        "Invalid",
        f"spec.model.uri: {uri!r} is not in this cluster's model store, {settings.store.public}; a folder of the node"
        " can only be served from there",
    )


def too_long(serve: Object, settings: Settings) -> Refusal | None:
    """Object to settings that no pod can be told: they are one argument of its command, which Linux bounds."""
    size = len(settings_argument(parse_modelserve(serve).triton).encode())
    if size <= MAX_SETTINGS:
        return None
    return Refusal("Invalid", f"spec.triton: {size} bytes as JSON, at most {MAX_SETTINGS} can be passed to a pod")


def scraped_elsewhere(serve: Object, settings: Settings) -> Refusal | None:
    """Object to annotations that the operator sets itself."""
    return settings.refuse_scrape(parse_modelserve(serve).pod)


def first_refusal(serve: Object, settings: Settings) -> Refusal | None:
    """The first objection, in the order in which a user would fix them."""
    checks = (invalid_spec, not_supported, foreign_folder, too_long, scraped_elsewhere)
    return next((refusal for check in checks if (refusal := check(serve, settings)) is not None), None)
