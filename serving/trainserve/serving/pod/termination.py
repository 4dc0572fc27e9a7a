"""How a pod of this room says its one result: the termination message, and the same line on stdout."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from trainserve.store.masking import masked

LIMIT = 4096
"""Bytes; the kubelet cuts longer messages off (terminationMessagePath, Kubernetes API)."""


def report(outcome: dict[str, Any]) -> None:
    """Writes `outcome` as JSON, without values of Secrets, to $TRAINSERVE_TERMINATION_LOG, else to /dev/termination-log
    where there is one."""
    outcome = masked(outcome)
    message = json.dumps(outcome)
    if len(message.encode()) > LIMIT:
        message = json.dumps(outcome | {"message": outcome["message"][: LIMIT // 4] + " …"})
    print(message, flush=True)
    named = os.environ.get("TRAINSERVE_TERMINATION_LOG")
    path = Path(named or "/dev/termination-log")
    if named or path.is_file():
        path.write_text(message)
