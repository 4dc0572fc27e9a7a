"""Masking of the values of this pod's Secrets in texts.

A pod's termination message and HTTP answers end up in statuses and events, which more people may read than the Secret.
Only the pod knows the values: the operator reads no Secrets.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from trainserve.api.pod import PodPath

FOLDER = Path(PodPath.SECRETS)
"""The folder where Secrets are mounted, each value a file."""
SHORTEST = 8
"""Minimum length in characters of a masked value: shorter ones occur in harmless words."""
LARGEST = 64 * 1024
"""Maximum size in bytes of a file that is read: larger ones are bundles of certificates."""

CREDENTIAL = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|(^|_)KEY($|_)", re.IGNORECASE)
"""Names of variables that hold a credential, whatever their source."""
_WITHIN = re.compile(
    r"""(?:password|login|account|secret|token|key)\w*["']?\s*[=:\s]\s*["']?([^\s"',]+)""", re.IGNORECASE
)
"""Values after these words in a file such as .netrc or a credentials file."""
_PLACE = re.compile(r"\w*(?:file|path|dir|folder)", re.IGNORECASE)


def masked(told: Any) -> Any:
    """Return `told` (a text, or JSON with texts) with every secret value replaced by its name."""
    if isinstance(told, str):
        return without(told, _here())
    if isinstance(told, dict):
        return {name: masked(value) for name, value in told.items()}
    if isinstance(told, list):
        return [masked(value) for value in told]
    return told


@functools.cache
def _here() -> Mapping[str, str]:
    """Return this process' secret values, as of the first call."""
    return values(os.environ, FOLDER)


def values(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return secret values and their names, longest first, in all forms in which programs print them."""
    found: dict[str, str] = {}

    def add(name: str, value: str) -> None:
        for form in (value, " ".join(value.split()), json.dumps(value)[1:-1], repr(value)[1:-1], quote(value, safe="")):
            if len(form) >= SHORTEST:
                found.setdefault(form, name)

    for name, value in environment.items():
        if CREDENTIAL.search(name) and not _PLACE.fullmatch(name):
            add(name, value.strip())
    for path in sorted(folder.rglob("*")):
        content = _content(path)
        for text in (content.strip(), *map(str.strip, content.splitlines()), *_WITHIN.findall(content)):
            add(path.name, text)
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))


def _content(path: Path) -> str:
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            return ""
        return path.read_text(errors="replace")
    except OSError:
        return ""


def without(text: str, known: Mapping[str, str]) -> str:
    """Return `text` with every value in `known` replaced by its name."""
    for value, name in known.items():
        if value in text:
            text = text.replace(value, f"<{name}>")
    return text
