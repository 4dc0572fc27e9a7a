"""Third-party clients, unmodified: NVIDIA's perf_analyzer and curl.

perf_analyzer 2.51 comes in the wheel tritonclient 2.51.0 (the newest that still contains it; the package
`perf-analyzer` is empty before glibc 2.38). It needs two libraries from the wheel of the development server. Everything
is in `~/.cache/trainserve/perf_analyzer-<version>/`; pip checks the wheel's digest.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from trainserve.serving.devserver import launch, runtime

VERSION = "2.51.0"
SHA256 = "c485bb0123bdf310f90bc8b03d3489b28df2ffed55b30c7eee0b795b48113d52"
PROGRAM = f"tritonclient-{VERSION}.data/data/bin/perf_analyzer"
LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}
"""Libraries that the program needs, and their file names in the server's wheel."""


@dataclass(frozen=True)
class PerfAnalyzer:
    """The installed program."""

    folder: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the program; its report is in `stdout`."""
        environment = os.environ | {"LD_LIBRARY_PATH": str(self.folder)}
        command = [str(self.folder / "perf_analyzer"), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def perf_analyzer() -> PerfAnalyzer:
    """Install the program if it is missing; safe for concurrent processes and if killed at any moment."""
    cache = runtime.CACHE.expanduser()
    folder = cache / f"perf_analyzer-{VERSION}"
    runtime.install()
    with (cache / "perf_analyzer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=cache, prefix="perf_analyzer.") as aside:
                _install(Path(aside))
                Path(aside, "installed").rename(folder)
    return PerfAnalyzer(folder)


def _install(aside: Path) -> None:
    requirement = aside / "requirement"
    requirement.write_text(f"tritonclient=={VERSION} --hash=sha256:{SHA256}\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--require-hashes", "-r", str(requirement), "-d", str(aside)], check=True)
    (wheel,) = aside.glob("*.whl")
    installed = aside / "installed"
    installed.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        (installed / "perf_analyzer").write_bytes(archive.read(PROGRAM))
    (installed / "perf_analyzer").chmod(0o755)
    packages = launch.wheel(runtime.CACHE.expanduser() / "triton").parents[1]
    for name, pattern in LIBRARIES.items():
        (found,) = (packages / "nvidia_pytriton.libs").glob(pattern)
        shutil.copy(found, installed / name)


def curl() -> str:
    """Return curl's path; install Debian's package if there is none."""
    if not shutil.which("curl"):
        subprocess.run(["apt-get", "install", "-y", "-qq", "curl"], check=True, capture_output=True)
    found = shutil.which("curl")
    assert found
    return found
