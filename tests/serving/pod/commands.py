"""Commands of `python -m trainserve.serving`, run as a pod runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def run(*arguments: str | Path, **environment: str) -> tuple[int, dict[str, Any], str]:
    """Run a command; return its exit status, the termination message on stdout, and stderr."""
    command = [sys.executable, "-m", "trainserve.serving", *map(str, arguments)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, env=environment or None)
    return finished.returncode, json.loads(finished.stdout or "{}"), finished.stderr
