"""Rules for names that become folders and files, so that no name leads out of the store."""

from __future__ import annotations

import re

from trainserve.store.errors import InvalidAddress

# Kubernetes' rule for namespaces (RFC 1123 label); the API's `ModelName` is the same with at most 40 characters.
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")

MANIFEST = "manifest.json"
REPORT = "report.html"
"""The optional report on the version's training, not needed for serving."""


def is_label(value: str) -> bool:
    """Return whether `value` may name a namespace or a model."""
    return bool(_LABEL.fullmatch(value))


def label(what: str, value: str) -> str:
    """Return `value` if it may name a namespace or model. Raises InvalidAddress naming `what` and the value."""
    if not is_label(value):
        raise InvalidAddress(f"{what}: {value!r} is not allowed; must be 1 to 63 of a-z, 0-9 and inner '-'")
    return value


def is_file(value: str) -> bool:
    """Return whether `value` may name a file of a version."""
    return bool(_FILE.fullmatch(value))


def file(value: str) -> str:
    """Return `value` if it may name a file of a version. Raises InvalidAddress."""
    if not is_file(value):
        raise InvalidAddress(
            f"file name: {value!r} is not allowed; must be letters, digits, '_', '-' and '.', no folders"
        )
    return value


def version(folder: str) -> int | None:
    """Return the version number of a folder's name; None if it is not one."""
    return int(folder) if _VERSION.fullmatch(folder) else None
