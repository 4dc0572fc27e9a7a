"""The web page that draws boards: installed into the cache by npm, and captured in headless Chromium."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from trainserve.dev.binaries import default_cache
from trainserve.dev.locks import held
from trainserve.dev.progress import SILENT, Progress

SOURCE = Path(__file__).parents[3] / "preview"
NODE = (20, 19)
"""The oldest version of Node that Vite supports."""


class PreviewError(Exception):
    """The pictures cannot be drawn; the message names what is missing, or is that of the page."""


@dataclass(frozen=True)
class Shot:
    """One picture: a board, and the page's other parameters, such as `theme`, `range` and `var-namespace`."""

    file: str
    dashboard: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def install(progress: Progress = SILENT, cache: Path | None = None) -> Path:
    """Return the folder of the page and its dependencies; each lock file has its own. Raises PreviewError."""
    check_node(node_version())
    lock = SOURCE / "package-lock.json"
    folder = (cache or default_cache()) / f"preview-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    with progress.task("the preview's packages") as task, held(folder / ".lock", lambda: task.update("waiting")):
        for name in ("src", "node_modules/.vite"):
            shutil.rmtree(folder / name, ignore_errors=True)
        shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("node_modules", "dist"), dirs_exist_ok=True)
        complete = folder / "node_modules" / ".complete"
        if not complete.exists():
            task.update("npm ci (490 MB, some minutes)")
            done = subprocess.run(["npm", "ci"], cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                raise PreviewError(f"npm ci in {folder} ended with status {done.returncode}:\n{done.stderr}")
            complete.touch()
    return folder


def shoot(folder: Path, shots: Sequence[Shot], prometheus: str, dashboards: Path, out: Path) -> list[Path]:
    """Take the pictures, with data from the Prometheus at that URL, and write them to `out`. Raises PreviewError."""
    environment = {**os.environ, "CHROMIUM": str(chromium()), "PROMETHEUS_URL": prometheus}
    environment["DASHBOARDS"] = str(dashboards.absolute())
    with TemporaryDirectory(prefix="trainserve-preview-") as scratch:
        wanted = [
            {"file": f"{scratch}/{shot.file}", "query": {"dashboard": shot.dashboard, **shot.parameters}}
            for shot in shots
        ]
        command = ["node", "shoot.mjs", json.dumps(wanted)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PreviewError(f"the page was not drawn:\n{done.stderr}")
        out.mkdir(parents=True, exist_ok=True)
        for shot in shots:
            with Image.open(f"{scratch}/{shot.file}") as picture:
                picture.convert("RGB").save(out / shot.file, optimize=True)
        return [out / shot.file for shot in shots]


def chromium() -> Path:
    """Return the path of Chromium: the environment's CHROMIUM, else one on PATH. Raises PreviewError."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        raise PreviewError("no chromium: apt-get install --no-install-recommends chromium fonts-dejavu")
    return Path(found)


def node_version() -> str:
    """Return the output of `node --version`; an empty string without node on PATH."""
    node = shutil.which("node")
    return subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout if node else ""


def check_node(version: str) -> None:
    """Raise PreviewError unless `version`, as `node --version` prints it, is new enough."""
    found = re.match(r"v(\d+)\.(\d+)", version)
    if not found or (int(found[1]), int(found[2])) < NODE:
        needed = ".".join(map(str, NODE))
        raise PreviewError(f"Node {needed} or newer is needed with npm; found: {version.strip() or 'none'}")
