"""Ways to obtain the control plane's programs: a verified download, a local build, an unpacked Debian package.

Each writes to a temporary name and renames the file, so that a file with its final name is complete.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from trainserve.dev.progress import Task

RELEASES = "https://dl.k8s.io/release"
SILENCE_SECONDS = 3.0
"""Timeout of the release server; short, so that an unreachable server costs little time."""
BUILD_SCRIPT = Path(__file__).with_name("build_kubernetes.sh")
BUILD_CACHE = "gopath/src/k8s.io/kubernetes/_output/local/go/cache"
"""Go's build cache below the build's scratch folder; Kubernetes' makefile puts it there."""
BUILD_RESULTS = 5000
"""Number of results in Go's build cache when the build is done, as the total of the progress bar."""
DEBIAN_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
"""Signing keys of Debian's releases, from package debian-archive-keyring."""


class FetchError(Exception):
    """The programs cannot be obtained in this way on this machine; the message says why."""


def download_kubernetes(target: Path, version: str, programs: Sequence[str], task: Task, lock: int) -> None:
    """Download a release's programs into `target`, each kept only if its sha256 is the published one.

    Layout of the release server: https://kubernetes.io/releases/download/#binaries. Raises FetchError.
    """
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    target.mkdir(parents=True, exist_ok=True)
    for name in programs:
        url = f"{RELEASES}/{version}/bin/linux/{architecture}/{name}"
        partial = target / f".{name}.partial"
        try:
            with urllib.request.urlopen(f"{url}.sha256", timeout=SILENCE_SECONDS) as answer:  # noqa: S310
                published = answer.read(64).decode("ascii", "replace")
            received = download(url, partial, task)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise FetchError(f"downloading {url}: {error}") from error
        if received != published:
            partial.unlink()
            raise FetchError(f"downloading {url}: its sha256 is {received}, but {published} is published")
        partial.chmod(0o755)
        partial.rename(target / name)


def download(url: str, path: Path, task: Task) -> str:
    """Download `url` to `path`; return the content's sha256 (hex). Raises OSError, also for an incomplete download."""
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=SILENCE_SECONDS) as answer, path.open("wb") as file:  # noqa: S310
        total = int(answer.headers.get("Content-Length", 0))
        while chunk := answer.read(1 << 20):
            digest.update(chunk)
            file.write(chunk)
            task.update(f"downloading {url}", file.tell(), total or None)
    return digest.hexdigest()


def build_kubernetes(target: Path, version: str, programs: Sequence[str], task: Task, lock: int) -> None:
    """Build the programs from Debian's source package into `target`. Raises FetchError.

    The build inherits the descriptor `lock`, so that a later caller waits for a build that outlived its killed caller.
    """
    need("apt-get")
    log = target.parent / "build.log"
    work = target.parent / "build"
    watch = partial(show_build, log, work / BUILD_CACHE, task)
    run_logged([str(BUILD_SCRIPT), str(target), str(work)], log, watch=watch, keep_open=[lock])
    if missing := [name for name in programs if not (target / name).is_file()]:
        raise FetchError(f"the build of Kubernetes {version} left no {', '.join(missing)} in {target}: see {log}")


def show_build(log: Path, compiled: Path, task: Task) -> None:
    """Show the build's latest `step` line, and its progress by the number of results in Go's build cache `compiled`."""
    steps = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("step ")]
    if steps:
        results = sum(1 for _ in compiled.glob("??/*-a"))
        task.update(f"building Kubernetes, {steps[-1]}", min(results, BUILD_RESULTS), BUILD_RESULTS)


def unpack_etcd(target: Path, task: Task) -> None:
    """Extract etcd from Debian's package etcd-server into the folder `target`. Raises FetchError.

    The package is not installed, because that would start and enable a service.
    """
    unpack_programs(target, {"etcd": "etcd-server"}, task)


def unpack_programs(
    target: Path,
    packages: Mapping[str, str],
    task: Task,
    *,
    options: Sequence[str] = (),
    update: Sequence[str] = ("apt-get", "update"),
) -> None:
    """Extract programs from Debian's packages, without installing these, into the folder `target`. Raises FetchError.

    `packages` maps each program below usr/bin to its package; that is not fetched if an earlier package contained the
    program. `options` are apt's; `update` is the command that updates package lists if a package is not found.
    """
    need("apt-get")
    log = target / "fetch.log"
    with tempfile.TemporaryDirectory(prefix="trainserve-package-") as scratch:
        unpacked = Path(scratch, "usr/bin")
        for program, package in packages.items():
            if not (unpacked / program).exists():
                fetch = ["apt-get", "download", "-o", "APT::Sandbox::User=root", *options, package]
                try:
                    task.update(f"fetching Debian's package {package}")
                    run_logged(fetch, log, folder=scratch)
                except FetchError:
                    task.update("updating Debian's package lists")
                    with suppress(FetchError):  # one unreachable archive must not block the others
                        run_logged(update, log)
                    run_logged(fetch, log, folder=scratch)
                run_logged(["dpkg-deb", "-x", str(next(Path(scratch).glob(f"{package}_*.deb"))), scratch], log)
        for program in packages:
            partial = target / f".{program}.partial"
            shutil.copy(unpacked / program, partial)
            partial.rename(target / program)


def release_options(folder: Path, release: str) -> list[str]:
    """Return options that restrict apt to one release of Debian, with package lists and all other state in `folder`.

    The archive is that of this machine's own sources. Raises FetchError if they have none.
    """
    need("apt-get")
    asked = ["apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages"]
    listed = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.splitlines()
    targets = [line.rpartition(" ") for line in listed]
    archive = next((uri for label, _, uri in targets if label == "Debian" or uri.endswith("/debian/")), None)
    if archive is None:
        raise FetchError("apt is configured with no archive of Debian")
    (folder / "lists" / "partial").mkdir(parents=True)
    sources = folder / "sources.list"
    trust = f"[signed-by={DEBIAN_KEYS}] " if DEBIAN_KEYS.exists() else ""
    sources.write_text(f"deb {trust}{archive} {release} main\n")
    settings = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "-",
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Default-Release": "",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": 0,
        "Acquire::http::Timeout": 10,
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def need(program: str) -> None:
    """Raise FetchError unless `program` is on PATH."""
    if not shutil.which(program):
        raise FetchError(f"{program} is not on PATH (Debian's packages are needed)")


def run_logged(
    argv: Sequence[str],
    log: Path,
    *,
    watch: Callable[[], None] = lambda: None,
    keep_open: Sequence[int] = (),
    folder: str | None = None,
) -> None:
    """Run `argv` with its output in `log`, calling `watch` twice a second. Raises FetchError on a nonzero exit status.

    The output goes to a file rather than a pipe, so that a command whose reader was killed can finish its work.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        child = subprocess.Popen(
            argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=keep_open
        )
    while True:
        try:
            status = child.wait(timeout=0.5)
            break
        except subprocess.TimeoutExpired:
            watch()
    if status:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise FetchError(f"{Path(argv[0]).name} ended with status {status}: {' '.join(last)} (see {log})")
