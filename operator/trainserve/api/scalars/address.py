"""Addresses of files and folders to fetch or mount, and the digests of their bytes."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, Field

DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"
_FETCHED = ("s3", "https", "file")
_SECRET = re.compile("signature|credential|secret|password|token|^sig$|key", re.IGNORECASE)
"""Parts of a query that are not to be kept in a configuration."""


def _without_credentials(uri: str) -> str:
    """Return the URI, or raise ValueError if it has credentials, which would be published with the model, or a form
    that is not allowed. The message does not repeat credentials."""
    parts = urlsplit(uri)
    if "@" in parts.netloc:
        raise ValueError("a user or password is not allowed in it; credentials come from the environment")
    if secret := next((key for key, _ in parse_qsl(parts.query, True) if _SECRET.search(key)), None):
        raise ValueError(f"?{secret}= is not allowed in it; credentials come from the environment")
    if parts.scheme not in (*_FETCHED, "pvc"):
        raise ValueError(f"{uri!r} is not allowed; must begin with s3://, https:// or file://")
    if parts.scheme == "https" and uri.endswith("/"):
        raise ValueError(f"{uri!r} is not allowed; https:// has no folders: name one file")
    return uri


Digest = Annotated[str, Field(pattern=DIGEST_PATTERN)]
DataUri = Annotated[str, Field(pattern=r"^(pvc|s3|https)://[^/@\s]+/\S+$", max_length=1024)]
"""A data set or weights in a manifest: on a claim, in an object store, or on a web server."""
Uri = Annotated[str, AfterValidator(_without_credentials)]
"""A data set or weights in the configuration of a run, which may also name a local file."""


def is_fetched(uri: str) -> bool:
    """Return whether a run fetches `uri` itself. Other URIs are mounted, and the configuration also has their path."""
    return urlsplit(uri).scheme in _FETCHED
