"""Steps from the launcher's forked child to the container's command: cgroups, sandbox, streams, exec."""

import contextlib
import os
import signal
import socket
from pathlib import Path
from typing import Any, NoReturn

from trainserve.dev.agent import sandbox

# Exit code that containerd reports if a command cannot be started (pkg/cri/server/container_start.go: "StartError").
START_ERROR = 128
# Exit code that a shell reports if a command cannot be run.
CANNOT_RUN = 126


def become_container(report: socket.socket, folder: Path, request: dict[str, Any], stage: Path) -> NoReturn:
    """Become a container's main process. Sends the descriptor of its mount namespace, or an error text, to `report`.

    `stage` is the empty folder at which sandboxes are built; its grandparent, the agent's folder, is hidden from them.
    """
    try:
        _reset()
        for group in request["cgroups"]:
            Path(group, "cgroup.procs").write_text("0")
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        own = sandbox.enter(str(stage), str(stage.parent.parent), request["hostname"], request["mounts"])
        namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        socket.send_fds(report, [b"."], [namespace])
        _set_streams(log)
        Path(request["cwd"]).mkdir(parents=True, exist_ok=True)
        if request["readOnly"]:
            sandbox.make_read_only(own, request["mounts"])
        _execute(request)
    except BaseException as error:
        with contextlib.suppress(OSError):
            report.sendall(_reason(request, error).encode())
    finally:
        os._exit(START_ERROR)


def become_command(output: int, main: int, namespace: int, request: dict[str, Any]) -> NoReturn:
    """Become a command in a container, with stdout and stderr going to the descriptor `output`.

    `main` is the pid of the container's main process, `namespace` a descriptor of its mount namespace.
    """
    try:
        _reset()
        root = os.open(f"/proc/{main}/root", os.O_PATH | os.O_CLOEXEC)
        _set_streams(output)
        sandbox.join(namespace, root)
        _execute(request)
    except BaseException as error:
        os.write(output, _reason(request, error).encode())
    finally:
        os._exit(CANNOT_RUN)


def _reset() -> None:
    """Reset signals, session and umask, so that the command does not inherit the launcher's."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.setsid()
    os.umask(0o022)


def _set_streams(output: int) -> None:
    for target, source in enumerate((os.open(os.devnull, os.O_RDONLY), output, output)):
        os.dup2(source, target)


def _execute(request: dict[str, Any]) -> None:
    argv = request["argv"]
    os.chdir(request["cwd"])
    try:
        os.execvpe(argv[0], argv, request["env"])  # noqa: S606
    except FileNotFoundError:
        reason = "no such file or directory" if "/" in argv[0] else "executable file not found in $PATH"
        raise FileNotFoundError(reason) from None


def _reason(request: dict[str, Any], error: BaseException) -> str:
    return f'exec: "{request["argv"][0]}": {error}'
