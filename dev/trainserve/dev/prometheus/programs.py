"""Programs of Prometheus: from PATH, else from Debian's packages, unpacked into the cache and never installed.

Installing one would start a service. There are three versions: that of this machine's release, the oldest that our
rules and dashboards support; one that discovers pods, which Debian 12's own cannot; and version 3, of Debian's unstable
release. Those of other releases run on Debian 12's C library; apt keeps their package lists in a separate folder, and
the machine's sources are not changed.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from trainserve.dev import fetch
from trainserve.dev.binaries import default_cache, is_program, search_path
from trainserve.dev.locks import held
from trainserve.dev.progress import SILENT, Progress, Task

PACKAGES = {"prometheus": "prometheus", "promtool": "promtool"}
"""Packages by program; up to Debian 12, the package prometheus contains both."""
DISCOVERING = "trixie"
"""Debian 13, the first release whose Prometheus is built with Kubernetes' service discovery again (2.53)."""
UNSTABLE = "sid"
Unpack = Callable[[Path, Mapping[str, str], Task], None]
_DISCOVERY = "scrape_configs: [{job_name: pods, kubernetes_sd_configs: [{role: pod, api_server: 'https://127.0.0.1'}]}]"


class PrometheusUnavailable(Exception):
    """A program of Prometheus is not available; the message says what was tried."""


def prometheus() -> Path:
    """Return the path of Prometheus, fetched if it is missing. Raises PrometheusUnavailable."""
    return prepare() / "prometheus"


def promtool() -> Path:
    """Return the path of promtool, fetched if it is missing. Raises PrometheusUnavailable."""
    return prepare() / "promtool"


def prometheus3() -> Path:
    """Return the path of Prometheus 3, fetched if it is missing. Raises PrometheusUnavailable."""
    return prepare3() / "prometheus"


def promtool3() -> Path:
    """Return the path of Prometheus 3's promtool, fetched if it is missing. Raises PrometheusUnavailable."""
    return prepare3() / "promtool"


def prepare(
    progress: Progress = SILENT, *, cache: Path | None = None, environment: Mapping[str, str] = os.environ
) -> Path:
    """Return the folder of Prometheus and promtool, fetched if they are missing. Raises PrometheusUnavailable."""
    installed = next(filter(_complete, search_path(environment)), None)
    return installed or _cached((cache or default_cache()) / "prometheus", fetch.unpack_programs, progress)


def prepare_discovering(
    progress: Progress = SILENT, *, cache: Path | None = None, environment: Mapping[str, str] = os.environ
) -> Path:
    """Return the folder of a Prometheus that discovers pods, fetched if missing. Raises PrometheusUnavailable."""
    own = prepare(progress, cache=cache, environment=environment)
    return own if discovers_pods(own) else _of_release(DISCOVERING, progress, cache)


def prepare3(progress: Progress = SILENT, *, cache: Path | None = None) -> Path:
    """Return the folder of Prometheus 3 and its promtool, fetched if missing. Raises PrometheusUnavailable."""
    folder = _of_release(UNSTABLE, progress, cache)
    if (found := version(folder / "prometheus"))[0] != 3:
        raise PrometheusUnavailable(f"Debian's unstable release has Prometheus {'.'.join(map(str, found))}, not 3")
    return folder


def version(program: Path) -> tuple[int, int]:
    """Return the major and minor version of Prometheus or promtool. Raises PrometheusUnavailable if it does not run.

    The program prints `prometheus, version 2.42.0+ds (branch: …` on stdout.
    """
    printed = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    if not (found := re.search(r"version (\d+)\.(\d+)", printed.stdout)):
        raise PrometheusUnavailable(f"{program} does not run: {printed.stderr.strip()}")
    return int(found[1]), int(found[2])


def discovers_pods(folder: Path) -> bool:
    """Return whether Prometheus in `folder` supports Kubernetes' service discovery, according to its promtool."""
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        file.write(_DISCOVERY)
        file.flush()
        return subprocess.run([folder / "promtool", "check", "config", file.name], capture_output=True).returncode == 0


def _complete(folder: Path) -> bool:
    return all(is_program(folder / name) for name in PACKAGES)


def _of_release(release: str, progress: Progress, cache: Path | None) -> Path:
    return _cached((cache or default_cache()) / f"prometheus-{release}", partial(_unpack_release, release), progress)


def _cached(folder: Path, unpack: Unpack, progress: Progress) -> Path:
    if _complete(folder):
        return folder
    with progress.task("Prometheus") as task, held(folder / ".lock", lambda: task.update("waiting for another fetch")):
        if not _complete(folder):
            try:
                unpack(folder, PACKAGES, task)
            except fetch.FetchError as error:
                raise PrometheusUnavailable(f"no Prometheus: {error}; or put it on PATH") from error
    return folder


def _unpack_release(release: str, target: Path, packages: Mapping[str, str], task: Task) -> None:
    with tempfile.TemporaryDirectory(prefix="trainserve-apt-") as scratch:
        options = fetch.release_options(Path(scratch), release)
        fetch.unpack_programs(target, packages, task, options=options, update=["apt-get", *options, "update"])
