"""What can go wrong with a request: one class for each thing that a caller can act on."""

from __future__ import annotations

UNLOADED = "has no available versions"
"""Triton's words, with a 4xx, of a model that it has but not now: it is ending, or loads the model anew."""


class BadInput(ValueError):
    """What was asked for cannot be sent; the message names the field, what it takes and what was given."""


class RequestFailed(Exception):
    """No answer, or one that is an error. The message names the server and holds its words."""


class Unavailable(RequestFailed):
    """No replica could be reached or had room. Asking again later may help; `retry_after` seconds if it said so."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceeded(RequestFailed):
    """The whole call, retries and all, took longer than its deadline. Whether a server still works on it is unknown."""


class Refused(RequestFailed):
    """The server understood and refused: an unknown model, inputs that do not fit. The same request fails again."""


class ServerFault(RequestFailed):
    """The server failed while it answered, or answered what is no answer."""
