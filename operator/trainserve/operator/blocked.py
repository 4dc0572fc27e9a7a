"""Why an object is not accepted, or something cannot be done as planned, with the reason that a condition shows."""

from __future__ import annotations

from typing import ClassVar, NamedTuple


class Refusal(NamedTuple):
    """Reason and message of the condition Accepted=False."""

    reason: str
    message: str


class Blocked(Exception):
    """Base of the reasons for which a child cannot be created or changed; the message says what stands in the way."""

    reason: ClassVar[str]


class NameTaken(Blocked):
    """The child's name belongs to an object that is not ours."""

    reason = "NameTaken"


class Leftover(Blocked):
    """The child's name still belongs to what an earlier owner of the same name left, which is being deleted."""

    reason = "Replacing"


class Rejected(Blocked):
    """The API server does not take the child: a quota, an admission policy, or something in it that is invalid."""

    reason = "Rejected"


class Changed(Exception):
    """The object was changed or replaced since the plan was made: it is to be looked at again."""

    def __init__(self, kind: str, namespace: str, name: str) -> None:
        super().__init__(f"{kind} {namespace}/{name} has changed since it was looked at")
        self.kind, self.namespace, self.name = kind, namespace, name


class NotHolding(Exception):
    """The lease was not renewed in time: another replica may act, so this one writes nothing."""


REJECTIONS = (400, 403, 413, 422)
"""HTTP statuses with which the API server rejects a child; other failures may have nothing to do with it."""
