"""The development server's runtime: Triton from the PyPI wheel `nvidia-pytriton`, in a virtual environment of its own.

For development and tests on loopback only: the wheel's release has known remote crashes. Clusters use NVIDIA's image.
The runtime is in `<cache>/triton` (with numpy < 2: with newer versions the python backend silently sends empty
tensors), the command that starts it is `<cache>/bin/tritonserver`. The wheel has the python backend only; that for
onnxruntime is compiled (trainserve.serving.devserver.compiled).
"""

from __future__ import annotations

import fcntl
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

from trainserve.serving.devserver import compiled, launch
from trainserve.serving.sources.releases import DEVELOPMENT_ONNXRUNTIME

CACHE = Path("~/.cache/trainserve")
SERVER = "nvidia-pytriton==0.7.0"
ONNXRUNTIME = (f"onnxruntime=={DEVELOPMENT_ONNXRUNTIME}",)
ONNXRUNTIME_GPU = (
    "onnxruntime-gpu==1.31.1",
    *("nvidia-cuda-runtime==13.5.37", "nvidia-cuda-nvrtc==13.5.37", "nvidia-nvjitlink==13.5.37"),
    *("nvidia-cublas==13.10.0.20", "nvidia-cudnn-cu13==9.28.1.4", "nvidia-cufft==12.5.0.14"),
    "nvidia-curand==10.4.5.25",
)
"""For machines with an NVIDIA GPU, with the CUDA libraries that it loads: a download of 1.5 GB. Never run on one."""
PACKAGES = (
    "numpy==1.26.4",
    *(ONNXRUNTIME_GPU if shutil.which("nvidia-smi") else ONNXRUNTIME),
    *("flatbuffers==25.12.19", "protobuf==7.36.2", "packaging==26.3"),
    *("httptools==0.9.0", "uvloop==0.23.0"),  # the guard's
)

Progress = Callable[[str], None]
_ROOM = Path(__file__).parent


class RuntimeInstallError(Exception):
    """The development server cannot be installed on this machine; the message says what is missing."""


def install(cache: Path = CACHE, progress: Progress = lambda line: None) -> Path:
    """Install or update `<cache>/triton` and `<cache>/bin/tritonserver`, and return the latter.

    Safe to call from several processes at once, and to kill at any moment.
    """
    cache = cache.expanduser().absolute()
    runtime, command = cache / "triton", cache / "bin" / "tritonserver"
    (cache / "bin").mkdir(parents=True, exist_ok=True)
    with _locked(cache / "triton.lock") as lock:
        if not _current(runtime):
            _build(runtime, progress, lock)
        try:
            compiled.compile_into(runtime / "backends" / "onnxruntime", _onnxruntime(runtime), progress)
        except compiled.CompileError as error:
            raise RuntimeInstallError(str(error)) from error
        for path in (_ROOM / "__init__.py", _ROOM / "launch.py", *sorted((_ROOM / "guard").glob("*.py"))):
            _write(
                runtime / "launcher/trainserve/serving/devserver" / path.relative_to(_ROOM), path.read_bytes(), 0o644
            )
        _write(command, _command(runtime).encode(), 0o755)
    return command


def _command(runtime: Path) -> str:
    """Return the script `tritonserver`. Without `site` it starts faster and ignores the caller's environment."""
    paths = [str(runtime / "launcher"), str(launch.wheel(runtime).parents[1])]
    return f"""#!{runtime}/bin/python3 -IS
import sys

sys.path[:0] = {paths!r}
from trainserve.serving.devserver.launch import main

main()
"""


def _stamp() -> str:
    return "\n".join((SERVER, *PACKAGES, sys.version, sys.base_prefix))


def _current(runtime: Path) -> bool:
    stamp = runtime / "stamp"
    return stamp.is_file() and stamp.read_text() == _stamp()


def _build(runtime: Path, progress: Progress, lock: int) -> None:
    """Build the environment, with its stamp, in a temporary folder, and rename it into place."""
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
    """Copy the backend's library, as the server refuses one that "escapes backend directory", and link its program,
    which finds its own libraries relative to its real path."""
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


def _onnxruntime(runtime: Path) -> Path:
    """Return the folder of onnxruntime's libraries."""
    return launch.packages(runtime) / "onnxruntime" / "capi"


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
        pass_fds=(lock,),  # if this process is killed, the next one waits for pip to end
    )
    if finished.returncode:
        lines = [line for line in finished.stderr.splitlines() if line.startswith("ERROR")] or [finished.stderr]
        raise RuntimeInstallError(f"pip install {' '.join(packages)}: {lines[-1].strip()}")


def _write(path: Path, content: bytes, mode: int) -> None:
    """Replace a file atomically if it differs: a server that starts meanwhile reads the old or the new one."""
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
