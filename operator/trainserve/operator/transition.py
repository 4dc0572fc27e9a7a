"""Log lines for changes of a status, one for each change that matters to people."""

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
    """Return the phase of a status; NEW if it has none."""
    return str(status.get("phase") or NEW)


@dataclass(frozen=True)
class Transition:
    """A change from one phase to another, or of the reason, attempt or version within a phase."""

    before: str
    after: str
    reason: str
    details: Mapping[str, int | str] = field(default_factory=dict)
    """Known details by name, such as `attempt` and `version`."""

    def words(self) -> str:
        """Return the change as text, such as `Running -> Restarting: OutOfMemory, attempt 1`."""
        return f"{self.before} -> {self.after}: {', '.join([self.reason, *self._details()])}"

    def _details(self) -> list[str]:
        return [f"{name} {value}" for name, value in self.details.items()]


def tell(logger: logging.Logger, owner: Object, transition: Transition) -> None:
    """Log the transition of `owner`, with its parts as fields of the line, too."""
    kind, metadata = owner["kind"], owner["metadata"]
    namespace, name, uid = metadata["namespace"], metadata["name"], metadata["uid"]
    fields = {"from": transition.before, "to": transition.after, "reason": transition.reason, **transition.details}
    extra = about(kind, namespace, name, uid) | fields
    logger.info("%s %s/%s: %s, uid %s", kind, namespace, name, transition.words(), uid, extra=extra)
