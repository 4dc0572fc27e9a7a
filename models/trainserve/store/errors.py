"""What can go wrong with the store, one class per thing a caller can act on."""

from __future__ import annotations

import os
from typing import ClassVar


class StoreError(Exception):
    """The store cannot be read or written; the message names the path and the system's own words.

    `reason` is the contract's word for it in a pod's termination message.
    """

    reason: ClassVar[str] = "StoreError"

    @classmethod
    def of(cls, doing: str, path: object, error: BaseException) -> StoreError:
        """From a failure of the file system or of the object store at `path`."""
        words = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        return cls(f"cannot {doing} {path}: {words or type(error).__name__}")


class InvalidAddress(StoreError):
    """A root or a name that no store can have: the caller's mistake, not the store's."""


class ModelNotFound(StoreError):
    """Nothing is published under that name."""

    reason = "ModelNotFound"


class VersionNotFound(StoreError):
    """The model exists, that version of it does not."""

    reason = "VersionNotFound"


class VersionMismatch(StoreError):
    """What lies in a version's folder says itself that it is another one."""

    reason = "VersionMismatch"


class DigestMismatch(StoreError):
    """A file's bytes are not those that were published. Nothing of it was left behind."""

    reason = "DigestMismatch"

    def __init__(self, path: str, expected: str, found: str) -> None:
        super().__init__(f"{path}: expected sha256:{expected}, found sha256:{found}")
        self.path, self.expected, self.found = path, expected, found
