"""The development server's runtime: Triton from the PyPI wheel `nvidia-pytriton`, in a virtual environment of its own.

For development and tests on loopback only: the wheel's release has known remote crashes. In clusters Triton is
NVIDIA's image. The runtime lives in `<cache>/triton` (numpy must be older than 2 there: with newer ones the python
backend silently sends empty tensors), the command that starts it in `<cache>/bin/tritonserver`. The wheel has the
python backend only; that for onnxruntime is compiled here from `backend/onnxruntime`, in two seconds.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trainserve.serving import launch

CACHE = Path("~/.cache/trainserve")
SERVER = "nvidia-pytriton==0.7.0"
PACKAGES = (
    *("numpy==1.26.4", "onnxruntime==1.32.0", "flatbuffers==25.12.19", "protobuf==7.36.2", "packaging==26.3"),
    *("httptools==0.9.0", "uvloop==0.23.0"),  # the guard's
)

COMPILER = ("g++", "-std=c++20", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra")

Progress = Callable[[str], None]
_ROOM = Path(__file__).parent


class RuntimeInstallError(Exception):
    """The development server cannot be installed here; the message says what is missing."""


def install(cache: Path = CACHE, progress: Progress = lambda line: None) -> Path:
    """Makes `<cache>/triton` and `<cache>/bin/tritonserver` current and returns the latter.

    Does nothing when they are; safe to call from several processes at once and to kill at any moment.
    """
    cache = cache.expanduser().absolute()
    runtime, command = cache / "triton", cache / "bin" / "tritonserver"
    (cache / "bin").mkdir(parents=True, exist_ok=True)
    with _locked(cache / "triton.lock") as lock:
        if not _current(runtime):
            _build(runtime, progress, lock)
        _compile_backend(runtime, progress)
        for path in (_ROOM / "__init__.py", _ROOM / "launch.py", *sorted((_ROOM / "guard").glob("*.py"))):
            _write(runtime / "launcher/trainserve/serving" / path.relative_to(_ROOM), path.read_bytes(), 0o644)
        _write(command, _command(runtime).encode(), 0o755)
    return command


def _command(runtime: Path) -> str:
    """The script `tritonserver`. Without `site` it starts sooner, and nothing of the caller's environment enters."""
    paths = [str(runtime / "launcher"), str(launch.wheel(runtime).parents[1])]
    return f"""#!{runtime}/bin/python3 -IS
import sys

sys.path[:0] = {paths!r}
from trainserve.serving.launch import main

main()
"""


def _stamp() -> str:
    return "\n".join((SERVER, *PACKAGES, sys.version, sys.base_prefix))


def _current(runtime: Path) -> bool:
    stamp = runtime / "stamp"
    return stamp.is_file() and stamp.read_text() == _stamp()


def _build(runtime: Path, progress: Progress, lock: int) -> None:
    """Builds the environment aside and renames it into place; the stamp is part of what is renamed."""
    _require_libpython()
    for left in runtime.parent.glob("triton.building-*"):
        shutil.rmtree(left, ignore_errors=True)
    aside = Path(tempfile.mkdtemp(prefix="triton.building-", dir=runtime.parent))
    progress("development server: creating its virtual environment")
    venv.create(aside, symlinks=True)
    for packages in (PACKAGES, (SERVER,)):
        progress(f"development server: installing {' '.join(packages)}")
        _pip(aside / "bin" / "python3", packages, lock)
    _lay_out_python_backend(aside)
    (aside / "stamp").write_text(_stamp())
    aside.chmod(0o755)
    if runtime.exists():
        shutil.move(runtime, tempfile.mkdtemp(prefix="triton.building-", dir=runtime.parent))
    aside.rename(runtime)
    progress("development server: ready")


def _lay_out_python_backend(runtime: Path) -> None:
    """The library is copied, because the server refuses one that "escapes backend directory"; the backend's program
    is linked, because it finds its own libraries relative to where it really lies."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    server = launch.wheel(runtime)
    program = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not program.is_file():
        raise RuntimeInstallError(f"{SERVER} has no python backend for Python {version}")
    backend = runtime / "backends" / "python"
    backend.mkdir(parents=True)
    library = server / "backends" / "python" / "libtriton_python.so"
    shutil.copy2(library, backend / library.name)
    for target in (program, server / "backends" / "python" / "triton_python_backend_utils.py"):
        (backend / target.name).symlink_to(os.path.relpath(target, backend))
    for executable in (program, server / "bin" / "tritonserver"):
        executable.chmod(0o755)


def _compile_backend(runtime: Path, progress: Progress) -> None:
    """Makes `backends/onnxruntime/libtriton_onnxruntime.so` current.

    onnxruntime's own library is found by the name it was built with, which its wheel lacks.
    """
    folder = runtime / "backends" / "onnxruntime"
    libraries = next(runtime.glob("lib/python3.*/site-packages/onnxruntime/capi"))
    (library,) = (path for path in libraries.glob("libonnxruntime.so.*.*.*") if not path.is_symlink())
    sources = sorted((_ROOM / "backend" / "onnxruntime").glob("*.*"))
    parts = [library.name.encode(), *(part.encode() for part in COMPILER), *(path.read_bytes() for path in sources)]
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()
    stamp = folder / "sources.sha256"
    if stamp.is_file() and stamp.read_text() == digest:
        return
    if shutil.which(COMPILER[0]) is None:
        raise RuntimeInstallError(f"{COMPILER[0]} is missing; on Debian: apt-get install {COMPILER[0]}")
    progress("development server: compiling its onnxruntime backend")
    by_soname = libraries / ".".join(library.name.split(".")[:3])
    if not by_soname.exists():
        by_soname.symlink_to(library.name)
    folder.mkdir(exist_ok=True)
    aside = folder / "building.so"
    (main,) = (path for path in sources if path.suffix == ".cc")
    link = [str(library), f"-Wl,-rpath,$ORIGIN/{os.path.relpath(libraries, folder)}"]
    finished = subprocess.run(
        [*COMPILER, str(main), "-o", str(aside), *link], capture_output=True, text=True, check=False
    )
    if finished.returncode:
        lines = [line for line in finished.stderr.splitlines() if "error" in line] or [finished.stderr]
        raise RuntimeInstallError(f"{COMPILER[0]} {main.name}: {lines[0].strip()}")
    aside.replace(folder / "libtriton_onnxruntime.so")
    stamp.write_text(digest)


def _require_libpython() -> None:
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    folders = (str(sysconfig.get_config_var("LIBDIR")), "/usr/lib/x86_64-linux-gnu", "/usr/lib64")
    if not any((Path(folder) / name).exists() for folder in folders):
        package = f"libpython{sys.version_info.major}.{sys.version_info.minor}"
        raise RuntimeInstallError(f"{name} is missing; on Debian: apt-get install {package}")


def _pip(python: Path, packages: tuple[str, ...], lock: int) -> None:
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--quiet"]
    finished = subprocess.run(
        [*command, "--disable-pip-version-check", *packages],
        capture_output=True,
        text=True,
        check=False,
        pass_fds=(lock,),  # if this process is killed, the next one waits until pip has ended too
    )
    if finished.returncode:
        lines = [line for line in finished.stderr.splitlines() if line.startswith("ERROR")] or [finished.stderr]
        raise RuntimeInstallError(f"pip install {' '.join(packages)}: {lines[-1].strip()}")


def _write(path: Path, content: bytes, mode: int) -> None:
    """Replaces a file at once, if it differs: a server that starts meanwhile reads the old or the new one whole."""
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_bytes(content)
    aside.chmod(mode)
    aside.replace(path)


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()
