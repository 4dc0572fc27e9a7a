"""Errors of the store, one class for each that a caller can act on."""

from __future__ import annotations

import os
from typing import ClassVar

from trainserve.api.reasons import Reason


class StoreError(Exception):
    """The store cannot be read or written; the message names the path and the system's error.

    `reason` is the reason that a pod's termination message gives for it.
    """

    reason: ClassVar[Reason] = Reason.STORE_ERROR

    @classmethod
    def of(cls, doing: str, path: object, error: BaseException) -> StoreError:
        """Return an error for an `error` of the file system or object store while `doing` something at `path`."""
        words = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        return cls(f"cannot {doing} {path}: {words or type(error).__name__}")


class InvalidAddress(StoreError):
    """A root or name that no store can have: an error of the caller, not of the store."""


class ModelNotFound(StoreError):
    """The model has no published version."""

    reason = Reason.MODEL_NOT_FOUND


class VersionNotFound(StoreError):
    """The model exists, but not the version."""

    reason = Reason.VERSION_NOT_FOUND


class VersionMismatch(StoreError):
    """The manifest in a version's folder is of another version."""

    reason = Reason.VERSION_MISMATCH


class DigestMismatch(StoreError):
    """A file's bytes are not those that were published. No copy of it is kept."""

    reason = Reason.DIGEST_MISMATCH

    def __init__(self, path: str, expected: str, found: str) -> None:
        super().__init__(f"{path}: expected sha256:{expected}, found sha256:{found}")
        self.path, self.expected, self.found = path, expected, found
