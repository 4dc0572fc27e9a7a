"""Why a TrainJob is not accepted: a chain of small pure functions, one subject each; the first that objects is
heard."""

from __future__ import annotations

from collections.abc import Callable

from trainserve.operator.plan import Object
from trainserve.operator.refusal import Refusal
from trainserve.operator.settings import Settings
from trainserve.operator.trainjob.checks import (
    checkpoint_place,
    invalid_spec,
    not_supported,
    scraped_elsewhere,
    spec_changed,
    too_long,
)

CHECKS: tuple[Callable[[Object, Settings], Refusal | None], ...] = (
    invalid_spec.check,
    too_long.check,
    not_supported.check,
    checkpoint_place.check,
    scraped_elsewhere.check,
    spec_changed.check,
)


def first_refusal(job: Object, settings: Settings) -> Refusal | None:
    """The first objection, in the order in which a user would fix them."""
    return next((refusal for check in CHECKS if (refusal := check(job, settings)) is not None), None)
