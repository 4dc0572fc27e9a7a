"""Refusals of the API server, as exceptions with the server's own messages."""

from __future__ import annotations

import json


class Refused(Exception):
    """A request got an HTTP status of 400 or more; the message is that of the response."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class ApiError(Refused):
    """The API server itself refused a request; `reason` is one word, such as NotFound."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(status, message)
        self.reason = reason


def refusal(status: int, body: bytes) -> Refused:
    """Return the error for a response: ApiError if it holds a Status object (which may lack its `kind`), else Refused.

    A response without a Status object does not concern the requested object: it comes from a proxy, or from a path that
    the server does not have.
    """
    text = body.decode(errors="replace").strip()
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict) or said.get("status") != "Failure":
        return Refused(status, f"HTTP status {status}: {text}")
    return ApiError(status, said.get("reason") or "", said.get("message") or f"HTTP status {status}")
