"""wrk as the client of every HTTP server: one thread, `concurrency` connections, and the same request repeatedly."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Figures(NamedTuple):
    """Requests per second, and latencies in milliseconds."""

    rate: float
    p50: float
    p99: float


def install() -> None:
    """Install wrk from Debian if it is missing."""
    if shutil.which("wrk") is None:
        subprocess.run(["apt-get", "install", "-y", "-qq", "wrk"], check=True, stdout=subprocess.DEVNULL)


def wrk(url: str, headers: Mapping[str, str], body: bytes, concurrency: int, seconds: int, folder: Path) -> Figures:
    """POST `body` repeatedly for `seconds`. Every response must have a successful status."""
    (folder / "body").write_bytes(body)
    script = [
        f'local file = io.open("{folder}/body", "rb")',
        'wrk.method, wrk.body = "POST", file:read("*a")',
        *(f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()),
        "done = function(summary, latency)",
        '  print("RESULT", summary.requests / summary.duration * 1e6, latency:percentile(50), latency:percentile(99),'
        " summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout)",
        "end",
    ]
    (folder / "wrk.lua").write_text("\n".join(script))
    command = ["wrk", "-t1", "--timeout=30s", f"-c{concurrency}", f"-d{seconds}s", "-s", str(folder / "wrk.lua"), url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"RESULT\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)", output)
    if found is None or float(found[4]):
        raise SystemExit(f"wrk {url}: not every request was answered: {output}")
    return Figures(float(found[1]), float(found[2]) / 1e3, float(found[3]) / 1e3)
