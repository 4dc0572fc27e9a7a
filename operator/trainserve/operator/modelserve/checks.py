"""Why a ModelServe is not accepted: a chain of small pure functions; the first that objects is heard."""

from __future__ import annotations

from trainserve.api.support import unsupported
from trainserve.api.validate import InvalidSpec, parse_modelserve
from trainserve.operator.plan import Object
from trainserve.operator.refusal import Refusal
from trainserve.operator.store import StoreRoot


def invalid_spec(serve: Object, store: StoreRoot) -> Refusal | None:
    """Object with the field's path, its value and what is allowed."""
    try:
        parse_modelserve(serve)
    except InvalidSpec as error:
        return Refusal("Invalid", str(error))
    return None


def not_supported(serve: Object, store: StoreRoot) -> Refusal | None:
    """Object with the fields that would be ignored."""
    problems = unsupported(parse_modelserve(serve))
    return Refusal("NotSupported", "\n".join(problems)) if problems else None


def foreign_uri(serve: Object, store: StoreRoot) -> Refusal | None:
    """Object to an address outside the store: nothing there was checked, and no pod has it mounted."""
    uri = parse_modelserve(serve).model.uri
    if uri is None or store.path_of(uri) is not None:
        return None
    return Refusal(
        "Invalid",
        f"spec.model.uri: {uri!r} is not in this cluster's model store, {store.public}/<namespace>/<model>/<version>",
    )


def first_refusal(serve: Object, store: StoreRoot) -> Refusal | None:
    """The first objection, in the order in which a user would fix them."""
    checks = (invalid_spec, not_supported, foreign_uri)
    return next((refusal for check in checks if (refusal := check(serve, store)) is not None), None)
