"""Addresses of what is fetched before a run: data sets and weights."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator

_FETCHED = ("s3", "https", "file")
_SECRET = re.compile("signature|credential|secret|password|token|^sig$|key", re.IGNORECASE)
"""Parts of a query that are not to be kept in a configuration."""


def _without_credentials(uri: str) -> str:
    """They would be published with the model. The message does not repeat them."""
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


Uri = Annotated[str, AfterValidator(_without_credentials)]


def is_fetched(uri: str) -> bool:
    """Whether a run fetches it by itself; what it does not fetch is mounted, and there is a path beside the URI."""
    return urlsplit(uri).scheme in _FETCHED
