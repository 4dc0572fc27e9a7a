"""Obstacles to accepting an object or executing its plan, with the reason that a condition shows."""

from __future__ import annotations

from typing import ClassVar, NamedTuple


class Refusal(NamedTuple):
    """Reason and message of the condition Accepted=False."""

    reason: str
    message: str


class Blocked(Exception):
    """Base of the errors for a child that cannot be created or changed; the message names the obstacle."""

    reason: ClassVar[str]


class NameTaken(Blocked):
    """The child's name belongs to an object of another owner."""

    reason = "NameTaken"


class Leftover(Blocked):
    """The child's name still belongs to a child of an earlier owner of the same name, which is being deleted."""

    reason = "Replacing"


class Rejected(Blocked):
    """The API server rejects the child because of a quota, an admission policy or an invalid field."""

    reason = "Rejected"


class Changed(Exception):
    """The object was changed or replaced since the plan was made and must be read again."""

    def __init__(self, kind: str, namespace: str, name: str) -> None:
        super().__init__(f"{kind} {namespace}/{name} has changed since it was looked at")
        self.kind, self.namespace, self.name = kind, namespace, name


class NotHolding(Exception):
    """The Lease was not renewed in time: another replica may act, so this one must not write."""


REJECTIONS = (400, 403, 413, 422)
"""HTTP statuses with which the API server rejects a child; other errors may have causes unrelated to the child."""
