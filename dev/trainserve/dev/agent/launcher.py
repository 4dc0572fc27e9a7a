"""The parent of every container process: starts them, reaps them, and records how each ended.

One small process per node that outlives the agent, as containerd outlives a kubelet. The agent talks to it over a Unix
socket, one JSON object per line: `start`, `exec`, `signal`, `kill`, `adopt`. State that must survive both processes
lies in the attempt's folder: `started.json` (pid, startTicks, bootId, startedAt) and `exit.json` (exitCode, finishedAt,
and `error` if the command could not be started). Uses the standard library only, since every fork copies its memory.
"""

import contextlib
import fcntl
import gc
import json
import os
import resource
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainserve.dev.agent import child, processes, sandbox

# Exit code that a kubelet reports for an unobserved container exit (pkg/kubelet/status: "ContainerStatusUnknown").
UNKNOWN_EXIT = 137
EXEC_OUTPUT_BYTES = 10 * 1024


def socket_path(directory: int) -> str:
    """Return the path of the launcher's socket, through an open descriptor of its folder.

    Unix socket paths are limited to 107 bytes, and the folder's own path may be longer.
    """
    return f"/proc/self/fd/{directory}/launcher.sock"


def write_atomically(path: Path, value: dict[str, Any]) -> None:
    """Write JSON atomically: a reader sees all of it or none."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)


@dataclass
class Container:
    """A container's main process. `namespace` is an open descriptor of its mount namespace; None before it has one."""

    folder: Path
    pid: int
    namespace: int | None = None


@dataclass
class Command:
    """A command run inside a container for a probe or hook.

    `request` is the id of the request to answer, `output` a memfd that receives both output streams.
    """

    request: int
    output: int


class Launcher:
    """The launcher's state and its single-threaded loop."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.stage = directory / "stage"
        self.boot_id = processes.boot_id()
        self.selector = selectors.DefaultSelector()
        self.agent: socket.socket | None = None
        self.inbox = b""
        self.containers: dict[str, Container] = {}
        self.by_pid: dict[int, Container] = {}
        self.starting: dict[int, Callable[[], None]] = {}
        self.commands: dict[int, Command] = {}

    def serve(self, ready: int) -> None:
        """Serve until killed. `ready` is a descriptor that is closed once the socket accepts connections."""
        self.stage.mkdir(parents=True, exist_ok=True)
        sandbox.become_subreaper()
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        wake_reader, wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_writer)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        path = socket_path(os.open(self.directory, os.O_PATH | os.O_CLOEXEC))
        Path(path).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        os.close(ready)
        self.selector.register(wake_reader, selectors.EVENT_READ, lambda: self._reap(wake_reader))
        self.selector.register(listener, selectors.EVENT_READ, lambda: self._accept(listener))
        gc.freeze()
        while True:
            for key, _ in self.selector.select():
                # An earlier callback of this round may have closed the descriptor, or its number may be reused.
                if self.selector.get_map().get(key.fd) is key:
                    key.data()

    def _accept(self, listener: socket.socket) -> None:
        self._drop_agent()
        self.agent, _ = listener.accept()
        self.selector.register(self.agent, selectors.EVENT_READ, self._receive)

    def _drop_agent(self) -> None:
        if self.agent is not None:
            self.selector.unregister(self.agent)
            self.agent.close()
        self.agent, self.inbox = None, b""

    def _receive(self) -> None:
        assert self.agent is not None
        try:
            received = self.agent.recv(1 << 18)
        except OSError:
            received = b""
        if not received:
            self._drop_agent()
            return
        *lines, self.inbox = (self.inbox + received).split(b"\n")
        for line in lines:
            request = json.loads(line)
            handle = {
                "start": self._start,
                "exec": self._exec,
                "signal": self._signal,
                "kill": self._kill,
                "adopt": self._adopt,
            }
            handle[request["op"]](request)

    def _send(self, message: dict[str, Any]) -> None:
        if self.agent is not None:
            try:
                self.agent.sendall(json.dumps(message).encode() + b"\n")
            except OSError:
                self._drop_agent()

    def _start(self, request: dict[str, Any]) -> None:
        """Start a container's main process; answer once it runs, or with `error`."""
        folder = Path(request["folder"])
        if request["folder"] in self.containers or (folder / "started.json").exists():
            self._send({"id": request["id"]})
            return
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            child.become_container(theirs, folder, request, self.stage)
        theirs.close()
        container = self.containers[request["folder"]] = self.by_pid[pid] = Container(folder, pid)

        def finish() -> None:
            self.selector.unregister(ours)
            del self.starting[pid]
            self._started(container, ours, request)

        self.starting[pid] = finish
        self.selector.register(ours, selectors.EVENT_READ, finish)

    def _started(self, container: Container, report: socket.socket, request: dict[str, Any]) -> None:
        # The namespace's descriptor comes with the first byte; the socket then closes at exec, or after an error text.
        said, descriptors, _, _ = socket.recv_fds(report, 1, 1)
        container.namespace = descriptors[0] if descriptors else None
        error = (said if not descriptors else b"") + b"".join(iter(lambda: report.recv(4096), b""))
        report.close()
        now = time.time()
        if error:
            write_atomically(
                container.folder / "exit.json",
                {"exitCode": child.START_ERROR, "error": error.decode(errors="replace"), "finishedAt": now},
            )
            self._send({"id": request["id"], "error": error.decode(errors="replace")})
            return
        started = {
            "pid": container.pid,
            "startTicks": processes.start_ticks(container.pid),
            "bootId": self.boot_id,
            "startedAt": now,
        }
        write_atomically(container.folder / "started.json", started)
        self._send({"id": request["id"]})

    def _exec(self, request: dict[str, Any]) -> None:
        """Run a command in a container's sandbox; answer with `exitCode` and `output` when it ends."""
        container = self.containers.get(request["folder"])
        if container is None or container.namespace is None:
            self._send({"id": request["id"], "exitCode": 126, "output": "the container is not running"})
            return
        output = os.memfd_create("output")
        pid = os.fork()
        if pid == 0:
            child.become_command(output, container.pid, container.namespace, request)
        self.commands[pid] = Command(request["id"], output)

    def _signal(self, request: dict[str, Any]) -> None:
        """Send a signal to a container's main process."""
        if container := self.containers.get(request["folder"]):
            _signal_process(container.pid, request["signal"])

    def _kill(self, request: dict[str, Any]) -> None:
        """SIGKILL all processes of a container, or of a command run in it (`exec`)."""
        for pid, command in self.commands.items():
            if command.request == request.get("exec"):
                _signal_process(pid, signal.SIGKILL)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
        if container := self.containers.get(request.get("folder", "")):
            _signal_process(container.pid, signal.SIGKILL)
            if container.namespace is not None:
                processes.kill_members(container.namespace)

    def _adopt(self, request: dict[str, Any]) -> None:
        """Watch a container that another launcher started: its end can be observed, its exit code cannot."""
        folder, started = Path(request["folder"]), request["started"]
        if (folder / "exit.json").exists():
            self._send({"exited": request["folder"]})
            return
        if request["folder"] in self.containers:
            return
        try:
            watch = os.pidfd_open(started["pid"])
            same = (started["bootId"], started["startTicks"]) == (self.boot_id, processes.start_ticks(started["pid"]))
            if not same:
                os.close(watch)
                raise ProcessLookupError
            namespace = os.open(f"/proc/{started['pid']}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            processes.kill_using(folder)
            self._record_unknown_exit(folder)
            self._send({"exited": request["folder"]})
        else:
            container = Container(folder, started["pid"], namespace)
            self.containers[request["folder"]] = container

            def ended() -> None:
                self.selector.unregister(watch)
                os.close(watch)
                self._record_unknown_exit(folder)
                self._ended(container)

            self.selector.register(watch, selectors.EVENT_READ, ended)

    def _record_unknown_exit(self, folder: Path) -> None:
        write_atomically(folder / "exit.json", {"exitCode": UNKNOWN_EXIT, "lost": True, "finishedAt": time.time()})

    def _reap(self, wake_reader: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(wake_reader, 4096)
        while True:
            try:
                result = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if result is None:
                return
            pid = result.si_pid
            if finish := self.starting.get(pid):
                finish()
            os.waitpid(pid, 0)
            code = result.si_status if result.si_code == os.CLD_EXITED else 128 + result.si_status
            if command := self.commands.pop(pid, None):
                self._answer_command(pid, command, code)
            elif container := self.by_pid.pop(pid, None):
                exit_file = container.folder / "exit.json"
                if not exit_file.exists():
                    write_atomically(exit_file, {"exitCode": code, "finishedAt": time.time()})
                self._ended(container)

    def _ended(self, container: Container) -> None:
        if container.namespace is not None:
            # A container ends with its main process, as if that were process 1 of a pid namespace.
            processes.kill_members(container.namespace)
            os.close(container.namespace)
        del self.containers[str(container.folder)]
        self._send({"exited": str(container.folder)})

    def _answer_command(self, pid: int, command: Command, code: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        output = os.pread(command.output, EXEC_OUTPUT_BYTES, 0).decode(errors="replace")
        os.close(command.output)
        self._send({"id": command.request, "exitCode": code, "output": output})


def _signal_process(pid: int, number: int) -> None:
    """Signal a process, if it still exists; otherwise `_reap` or the watch of `_adopt` is about to report its end."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def main(directory: Path, ready: int) -> None:
    """Serve the agent whose state is in `directory`; return at once if another launcher serves that folder."""
    lock = os.open(directory / "launcher.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps({"pid": os.getpid(), "startTicks": processes.start_ticks(os.getpid())}).encode(), 0)
    Launcher(directory).serve(ready)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
