"""One line of the log for each change of a status that a person would ask about."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from trainserve.operator.logs import about
from trainserve.operator.plan import Object

NEW = "New"
"""Phase of an object without a status."""


@dataclass(frozen=True)
class Transition:
    """From one phase to another, or to the same for another reason or with another attempt or version."""

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
    """Write the line; its parts are fields of it as well."""
    kind, metadata = owner["kind"], owner["metadata"]
    namespace, name, uid = metadata["namespace"], metadata["name"], metadata["uid"]
    fields = {"from": transition.before, "to": transition.after, "reason": transition.reason, **transition.details}
    extra = about(kind, namespace, name, uid) | fields
    logger.info("%s %s/%s: %s, uid %s", kind, namespace, name, transition.words(), uid, extra=extra)
