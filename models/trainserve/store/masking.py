"""Values of Secrets that this pod was given, and texts without them.

What a pod tells of itself (its termination message, what it serves) ends in statuses and events, which more people may
read than the Secret. Only the pod knows the values: the operator reads no Secret.
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

FOLDER = Path("/var/run/secrets")
"""Where Secrets are mounted, each value a file."""
SHORTEST = 8
"""Characters of a value that is masked: a shorter one is a part of many a harmless word."""
LARGEST = 64 * 1024
"""Bytes of a file that are read: larger ones are certificates of many authorities."""

CREDENTIAL = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|(^|_)KEY($|_)", re.IGNORECASE)
"""Names of variables that hold one, wherever they come from; those of a mounted Secret are known by their values."""
_WITHIN = re.compile(
    r"""(?:password|login|account|secret|token|key)\w*["']?\s*[=:\s]\s*["']?([^\s"',]+)""", re.IGNORECASE
)
"""Of a file such as .netrc, or a file of credentials: what stands behind these words."""
_PLACE = re.compile(r"\w*(?:file|path|dir|folder)", re.IGNORECASE)


def masked(told: Any) -> Any:
    """What is told (a text, or JSON with texts in it), in which the name of a secret value stands for it."""
    if isinstance(told, str):
        return without(told, _here())
    if isinstance(told, dict):
        return {name: masked(value) for name, value in told.items()}
    if isinstance(told, list):
        return [masked(value) for value in told]
    return told


@functools.cache
def _here() -> Mapping[str, str]:
    """Of this process, as they were when it first asked."""
    return values(os.environ, FOLDER)


def values(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Secret values with their names, the longest first, in every form in which programs print them."""
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
    """The text, in which names stand for the `values` that are `known`."""
    for value, name in known.items():
        if value in text:
            text = text.replace(value, f"<{name}>")
    return text
