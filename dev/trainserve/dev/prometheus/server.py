"""Command line of Prometheus. Pure."""

from __future__ import annotations

from pathlib import Path

RETENTION = {"time": "2d", "size": "512MB"}


def command(program: Path, configuration: Path, data: Path, port: int) -> list[str]:
    """Return the command of Prometheus 2 or 3 on loopback, with its samples in the folder `data`."""
    return [
        str(program),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={data}",
        f"--storage.tsdb.retention.time={RETENTION['time']}",
        f"--storage.tsdb.retention.size={RETENTION['size']}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
