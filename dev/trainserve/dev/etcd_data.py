"""Explanation of etcd's exit on data that a newer etcd wrote; etcd itself leaves only a log line."""

from __future__ import annotations

import re
from pathlib import Path

_REFUSED = (
    re.compile(r'"current-server-version":"([0-9.]+)","determined-cluster-version":"([0-9.]+)"'),
    re.compile(r"current version: ([0-9.]+) is lower than determined cluster version: ([0-9]+[.][0-9]+)"),
)
"""The fatal line of etcd 3.4 and newer, and of older ones (`membership.mustDetectDowngrade`)."""


def explained(last_words: str, program: str, data: Path) -> str | None:
    """Return advice if etcd ended because a newer release wrote its data, or None if it ended for another reason."""
    found = next((match for each in _REFUSED if (match := each.search(last_words))), None)
    if found is None:
        return None
    own, theirs = found.groups()
    return (
        f"etcd {theirs} has written the data in {data}, and {program} is etcd {own}, which does not read what a newer"
        f" one wrote. Put etcd {theirs} or newer on PATH; or, to begin anew without all that the cluster holds, remove"
        f" {data}"
    )
