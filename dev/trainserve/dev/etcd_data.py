"""What etcd says of data that a newer one wrote, in words that help: its last line is one of a log's."""

from __future__ import annotations

import re
from pathlib import Path

_REFUSED = (
    re.compile(r'"current-server-version":"([0-9.]+)","determined-cluster-version":"([0-9.]+)"'),
    re.compile(r"current version: ([0-9.]+) is lower than determined cluster version: ([0-9]+[.][0-9]+)"),
)
"""Of etcd 3.4 on, and before: `membership.mustDetectDowngrade`."""


def explained(last_words: str, program: str, data: Path) -> str | None:
    """What to do where etcd ended because its data are of a newer release; None where it ended for another reason."""
    found = next((match for each in _REFUSED if (match := each.search(last_words))), None)
    if found is None:
        return None
    own, theirs = found.groups()
    return (
        f"etcd {theirs} has written the data in {data}, and {program} is etcd {own}, which does not read what a newer"
        f" one wrote. Put etcd {theirs} or newer on PATH; or, to begin anew without all that the cluster holds, remove"
        f" {data}"
    )
