"""Errors of a request: one class for each case that a caller can handle differently."""

from __future__ import annotations

UNLOADED = "has no available versions"
"""Part of Triton's 4xx message for a model that is unloaded: the server is shutting down, or reloads the model."""


class BadInput(ValueError):
    """Invalid input, of which nothing is sent; the message names the field, what it takes and what was given."""


class RequestFailed(Exception):
    """The request got no answer, or an error. The message names the server, and contains the server's message."""


class Unavailable(RequestFailed):
    """No replica was reachable or had capacity. A later retry may help, after `retry_after` seconds if one said so."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceeded(RequestFailed):
    """The call, with its retries, exceeded its deadline. A server may still be working on it."""


class Refused(RequestFailed):
    """The server refused the request: an unknown model, or inputs that do not fit. The same request fails again."""


class ServerFault(RequestFailed):
    """The server failed during the request, or its response is malformed."""
