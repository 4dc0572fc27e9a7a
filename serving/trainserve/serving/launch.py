"""The development `tritonserver`: takes the official image's flags and adds what the wheel's server needs.

This file uses the standard library alone: `runtime.install` writes it, with the runtime's interpreter in its first
line, to `~/.cache/trainserve/bin/tritonserver`. What it adds, unless the caller gave the flag: the backend and cache
directories, loopback addresses, and a shared-memory prefix of its own.

The server leaves its python backend's shared-memory regions behind when it is killed or misses its exit timeout
(triton-inference-server/server#6986). Each start therefore holds an flock, inherited by the server and its backend
processes, on a file named after its prefix: a prefix whose lock can be taken has no living user and is swept.
"""

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import sysconfig
import uuid
from collections.abc import Sequence
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 where the server's shm_open puts its regions
PREFIX = "trainserve-triton-"
LOCK = "lock"
_REPOSITORY_FLAGS = ("--model-repository", "--model-store")
_PR_SET_PDEATHSIG = 1


def server_arguments(arguments: Sequence[str], runtime: Path, prefix: str, directory: Path) -> list[str]:
    """The flags the wheel's server is given for the caller's `arguments`.

    Relative model repositories are meant from the caller's `directory`: the server runs in `/`, because its python
    backend puts the working directory first on sys.path.
    """
    given: list[str] = []
    path_expected = False
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if path_expected:
            argument = str(directory / argument)
        elif flag in _REPOSITORY_FLAGS and equals:
            argument = f"{flag}={directory / value}"
        path_expected = argument in _REPOSITORY_FLAGS
        given.append(argument)
    names = {argument.partition("=")[0] for argument in given}
    defaults = {
        "--backend-directory": str(runtime / "backends"),
        "--cache-directory": str(wheel(runtime) / "caches"),
        "--http-address": "127.0.0.1",
        "--grpc-address": "127.0.0.1",
        "--metrics-address": "127.0.0.1",
        # Triton's eight threads sleep between two answers, and waking each costs more than it does: on 2 cores one
        # thread answers 1.15 to 1.3 times as many requests (bench/serving.py).
        "--http-thread-count": str(max(1, (os.cpu_count() or 1) // 2)),
    }
    added = [f"{flag}={value}" for flag, value in defaults.items() if flag not in names]
    return [*given, *added, f"--backend-config=python,shm-region-prefix-name={prefix}"]


def wheel(runtime: Path) -> Path:
    """The server's folder inside the runtime's virtual environment."""
    return runtime / "lib" / f"python3.{sys.version_info.minor}" / "site-packages" / "pytriton" / "tritonserver"


def server_environment(environment: dict[str, str], runtime: Path) -> dict[str, str]:
    """The backend's process takes the first python3 on PATH and the first libpython on LD_LIBRARY_PATH."""
    libraries = [str(sysconfig.get_config_var("LIBDIR")), environment.get("LD_LIBRARY_PATH", "")]
    path = [str(runtime / "bin"), environment.get("PATH", os.defpath)]
    return environment | {
        "PATH": os.pathsep.join(filter(None, path)),
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
    }


def take_prefix(memory: Path = SHARED_MEMORY) -> tuple[str, int]:
    """A new prefix and the descriptor of its held lock, which children must inherit."""
    while True:
        prefix = f"{PREFIX}{uuid.uuid4().hex[:12]}-"
        lock = os.open(memory / f"{prefix}{LOCK}", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink:  # else a sweep took it between creation and lock
            return prefix, lock
        os.close(lock)


def sweep(memory: Path = SHARED_MEMORY) -> list[str]:
    """Removes what dead servers left; returns their prefixes."""
    swept = []
    for path in memory.glob(f"{PREFIX}*-{LOCK}"):
        prefix = path.name.removesuffix(LOCK)
        try:
            lock = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(prefix, memory)
            swept.append(prefix)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)
    return swept


def remove(prefix: str, memory: Path = SHARED_MEMORY) -> None:
    """Unlinks every region of a prefix, its lock last."""
    for path in sorted(memory.glob(f"{prefix}*"), key=lambda path: path.name == f"{prefix}{LOCK}"):
        path.unlink(missing_ok=True)


def run(arguments: Sequence[str], runtime: Path) -> int:
    """Runs the server until it ends and returns its exit status; signals reach it, and it dies with this process."""
    sweep()
    prefix, lock = take_prefix()
    libc = ctypes.CDLL(None)
    command = [str(wheel(runtime) / "bin" / "tritonserver")]
    forwarded = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
    signal.pthread_sigmask(signal.SIG_BLOCK, forwarded)  # none may fall between the start and the handlers

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, forwarded)

    try:
        server = subprocess.Popen(
            command + server_arguments(arguments, runtime, prefix, Path.cwd()),
            cwd="/",
            env=server_environment(dict(os.environ), runtime),
            pass_fds=(lock,),
            preexec_fn=prepare,
        )
        for number in forwarded:
            signal.signal(number, lambda received, _frame: server.send_signal(received))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, forwarded)
        status = server.wait()
    finally:
        remove(prefix)
        sweep()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], Path(sys.executable).parent.parent))
