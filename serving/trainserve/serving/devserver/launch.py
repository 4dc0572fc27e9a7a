"""The development `tritonserver`: takes the official image's flags and adds what the wheel's server needs.

`runtime.install` copies this file and the guard beside the server; the command `~/.cache/trainserve/bin/tritonserver`
runs it with the runtime's interpreter. Unless the caller gave the flag, it adds the backend and cache directories,
loopback addresses, and a shared-memory prefix. The ports of HTTP and metrics are the guard's
(`trainserve.serving.devserver.guard`); the server listens on sockets behind it. `--guard=off` omits the guard, to
measure the server alone; `--guard=hold` is for a supervisor: requests wait for a model that is being recovered.

The server leaves its python backend's shared-memory regions behind if it is killed or misses its exit timeout
(triton-inference-server/server#6986). Each start therefore holds an flock, inherited by the server and its backend
processes, on a file named after its prefix. A sweeper process, which outlives them all, ends the remaining ones, waits
for that lock and removes the regions. If the sweeper is killed too, the next start finds a prefix whose lock is free,
and removes its regions.
"""

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import subprocess
import sys
import sysconfig
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 where the server's shm_open puts its regions
PREFIX = "trainserve-triton-"
LOCK = "lock"
GUARD_FLAG = "--guard"
DRAIN_SECONDS = 5.0
"""For current requests after a SIGTERM; the server's own exit timeout begins after it."""
_REPOSITORY_FLAGS = ("--model-repository", "--model-store")
_RESTRICTIONS = ("--http-restricted-api", "--grpc-restricted-protocol")
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def server_arguments(arguments: Sequence[str], runtime: Path, prefix: str, directory: Path) -> list[str]:
    """Return the flags of the wheel's server for the caller's `arguments`.

    Relative model repositories are resolved against the caller's `directory`: the server runs in `/`, because its
    python backend puts the working directory first on sys.path.
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
        # Waking one of Triton's eight threads costs more than an answer: on 2 cores one
        # thread answers 35,000 requests a second at concurrency 32, eight 29,800 (and 18,300 and 17,100 at 8; n = 5).
        "--http-thread-count": str(max(1, (os.cpu_count() or 1) // 2)),
    }
    added = [f"{flag}={value}" for flag, value in defaults.items() if flag not in names]
    return [*given, *added, f"--backend-config=python,shm-region-prefix-name={prefix}"]


def packages(runtime: Path) -> Path:
    """Return the folder of packages of the runtime's virtual environment."""
    return runtime / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"


def wheel(runtime: Path) -> Path:
    """Return the server's folder in the runtime's virtual environment."""
    return packages(runtime) / "pytriton" / "tritonserver"


def server_environment(environment: dict[str, str], runtime: Path) -> dict[str, str]:
    """Return the server's environment variables.

    The python backend's processes use the first python3 on PATH and the first libpython on LD_LIBRARY_PATH, where
    onnxruntime-gpu finds the CUDA libraries too, which are separate packages.
    """
    cuda = map(str, sorted(packages(runtime).glob("nvidia/*/lib")))
    libraries = [str(sysconfig.get_config_var("LIBDIR")), *cuda, environment.get("LD_LIBRARY_PATH", "")]
    path = [str(runtime / "bin"), environment.get("PATH", os.defpath)]
    return environment | {
        "PATH": os.pathsep.join(filter(None, path)),
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
    }


def take_prefix(memory: Path = SHARED_MEMORY) -> tuple[str, int]:
    """Return a new prefix and the descriptor of its lock, which is held and must be inherited by children."""
    while True:
        prefix = f"{PREFIX}{uuid.uuid4().hex[:12]}-"
        lock = os.open(memory / f"{prefix}{LOCK}", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink:  # else a sweep removed it between creation and lock
            return prefix, lock
        os.close(lock)


def sweep(memory: Path = SHARED_MEMORY) -> list[str]:
    """Remove the regions that dead servers left, and return their prefixes."""
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


def remove(prefix: str, memory: Path = SHARED_MEMORY, but: str = "") -> None:
    """Unlink every region of a prefix, its lock last, except the one named `but`."""
    for path in sorted(memory.glob(f"{prefix}*"), key=lambda path: path.name == f"{prefix}{LOCK}"):
        if path.name != f"{prefix}{but}":
            path.unlink(missing_ok=True)


def value(arguments: Sequence[str], flag: str, default: str) -> str:
    """Return the value of a flag, given as `--flag=value` or `--flag value`; the last one counts."""
    found = default
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, text = argument.partition("=")
        if name == flag:
            found = text if equals else following
    return found


def without(arguments: Sequence[str], flags: Sequence[str]) -> list[str]:
    """Return the arguments without some flags and their values."""
    left: list[str] = []
    skipped = False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if not skipped and name not in flags:
            left.append(argument)
        skipped = not skipped and name in flags and not equals
    return left


def end_processes(prefix: str) -> None:
    """Kill the processes with this prefix: the server, and backend processes that outlived it.

    A backend process whose server was killed in the middle of a hand-off would wait for ever.
    """
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if prefix.encode() in path.read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)


def sweep_after(prefix: str) -> None:
    """Start a process, in its own session, that cleans up `prefix` after this process has ended."""
    living = os.pidfd_open(os.getpid())
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        os.close(living)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    try:
        ctypes.CDLL(None).prctl(_PR_SET_NAME, b"triton-sweeper")
        null = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(null, standard)
        os.dup2(living, 3)
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))  # also the inherited lock, for which it would wait itself
        select.select([3], [], [])
        end_processes(prefix)
        lock = os.open(SHARED_MEMORY / f"{prefix}{LOCK}", os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX)
        remove(prefix)
    finally:
        os._exit(0)


def run(arguments: Sequence[str], runtime: Path) -> int:
    """Run the server until it ends, and return its exit status. It gets this process's signals, and dies with it."""
    sweep()
    prefix, lock = take_prefix()
    sweep_after(prefix)
    mode = "off" if {"--help", "-h", "--version"} & set(arguments) else value(arguments, GUARD_FLAG, "on")
    own = without(arguments, [GUARD_FLAG])
    libc = ctypes.CDLL(None)
    signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)  # none may arrive before there are handlers

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)

    def start(given: Sequence[str]) -> subprocess.Popen[bytes]:
        end_processes(prefix)  # those of a killed server that this one replaces
        remove(prefix, but=LOCK)
        return subprocess.Popen(
            [str(wheel(runtime) / "bin" / "tritonserver"), *server_arguments(given, runtime, prefix, Path.cwd())],
            cwd="/",
            env=server_environment(dict(os.environ), runtime),
            pass_fds=(lock,),
            preexec_fn=prepare,
        )

    try:
        status = _run_alone(start, own) if mode == "off" else _run_guarded(start, own, prefix, mode)
    finally:
        end_processes(prefix)
        remove(prefix)
        sweep()
    return status if status >= 0 else 128 - status


def _run_alone(start: Callable[[Sequence[str]], subprocess.Popen[bytes]], arguments: Sequence[str]) -> int:
    server = start(arguments)
    for number in _FORWARDED:
        signal.signal(number, lambda received, _frame: server.send_signal(received))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
    return server.wait()


def _run_guarded(
    start: Callable[[Sequence[str]], subprocess.Popen[bytes]], arguments: Sequence[str], prefix: str, mode: str
) -> int:
    from trainserve.serving.devserver.guard import process, screen  # with uvloop and httptools: not for --help
    from trainserve.serving.devserver.guard.recovery import Recovery

    http = process.Port(
        host=value(arguments, "--http-address", "127.0.0.1"),
        number=int(value(arguments, "--http-port", "8000")),
        socket=f"{SHARED_MEMORY}/{prefix}http",
        screen=screen.screen,
        recovery=Recovery() if mode == "hold" else None,
    )
    metrics = process.Port(
        host=value(arguments, "--metrics-address", "127.0.0.1"),
        number=int(value(arguments, "--metrics-port", "8002")),
        socket=f"{SHARED_MEMORY}/{prefix}metrics",
        screen=screen.screen_metrics,
    )
    # Shared memory is closed to all clients (CVE-2025-23319, 23320): the secret is given to no one.
    secret = f"shared-memory:{prefix}={uuid.uuid4().hex}"
    open_to_all = [flag for flag in _RESTRICTIONS if "shared-memory" not in value(arguments, flag, "")]
    behind = [
        *without(arguments, ["--http-address", "--http-port", "--metrics-address", "--metrics-port"]),
        *(f"--http-address=unix:{http.socket}", f"--metrics-address=unix:{metrics.socket}"),
        *(f"{flag}={secret}" for flag in open_to_all),
    ]
    return process.run(lambda: start(behind), [http, metrics], DRAIN_SECONDS)


def main() -> None:
    """Run the command `tritonserver`."""
    sys.exit(run(sys.argv[1:], Path(sys.executable).parent.parent))
