"""One line of the log for each change of a status that a person would ask about."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainserve.operator.logs import about
from trainserve.operator.objects import Object

NEW = "New"
"""Phase of an object without a status."""


def phase(status: Mapping[str, Any]) -> str:
    """Return the phase; NEW without a status."""
    return str(status.get("phase") or NEW)


@dataclass(frozen=True)
class Transition:
    """A change from one phase to another, or of the reason, attempt or version within a phase."""

    before: str
    after: str
    reason: str
    details: Mapping[str, int | str] = field(default_factory=dict)
    """Such as `attempt` and `version`, by name; those that are known."""

    def words(self) -> str:
        """`Running -> Restarting: OutOfMemory, attempt 1`."""
        return f"{self.before} -> {self.after}: {', '.join([self.reason, *self._details()])}"

    def _details(self) -> list[str]:
        return [f"{name} {value}" for name, value in self.details.items()]


def tell(logger: logging.Logger, owner: Object, transition: Transition) -> None:
    """Write the line, whose parts are also its fields."""
    kind, metadata = owner["kind"], owner["metadata"]
    namespace, name, uid = metadata["namespace"], metadata["name"], metadata["uid"]
    fields = {"from": transition.before, "to": transition.after, "reason": transition.reason, **transition.details}
    extra = about(kind, namespace, name, uid) | fields
    logger.info("%s %s/%s: %s, uid %s", kind, namespace, name, transition.words(), uid, extra=extra)
