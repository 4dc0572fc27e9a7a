"""Processes of a development server: the launcher, the server, and one for each model instance of the python backend.

Instances of the onnxruntime backend run in the server's process. A backend process that was killed or stopped is seen
here at once; an inference finds it only if it happens to be sent to that instance.
"""

from __future__ import annotations

from pathlib import Path

import psutil

_STOPPED = frozenset({psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP})


class Processes:
    """The processes below `launcher`, a process id. A backend process is known by its model's path in `repository`."""

    def __init__(self, launcher: int, repository: Path) -> None:
        self.launcher, self.repository = psutil.Process(launcher), repository.resolve()
        self.triton: psutil.Process | None = None
        """The server, since `found`: the launcher may start another in its place."""

    def found(self) -> None:
        """Record the server's process, now that it has answered."""
        self.triton = next(iter(self._children(self.launcher)), None)

    def server(self) -> list[psutil.Process]:
        """Return the launcher, and the server if there is one."""
        return [self.launcher, *self._children(self.launcher)]

    def replaced(self) -> bool:
        """Whether the recorded server has ended, and the launcher has started another."""
        gone = self.triton is None or _status(self.triton) == psutil.STATUS_DEAD
        return gone and any(_alive(process) for process in self._children(self.launcher))

    def whole(self) -> bool:
        """Whether the launcher and the recorded server are alive."""
        return _alive(self.launcher) and self.triton is not None and _alive(self.triton)

    def launching(self) -> bool:
        """Whether the launcher runs, so that it would start another server."""
        return _alive(self.launcher) and _status(self.launcher) not in _STOPPED

    def backends(self, model: str) -> list[psutil.Process]:
        """Return the backend processes of a model."""
        folder = str(self.repository / model) + "/"
        return [process for process in self._all_backends() if _argument(process).startswith(folder)]

    def stopped(self) -> str | None:
        """Return a message if the launcher or the server was stopped (SIGSTOP), else None."""
        for process in self.server():
            if _status(process) in _STOPPED:
                return f"its process {process.pid} was stopped"
        return None

    def fault(self, backends: list[psutil.Process]) -> str | None:
        """Return a message if one of `backends` was stopped or killed, else None.

        A killed one is a zombie; one that the server ended itself, to unload the model, is gone.
        """
        for process in backends:
            status = _status(process)
            if status in _STOPPED:
                return f"its backend process {process.pid} was stopped"
            if status == psutil.STATUS_ZOMBIE:
                return f"its backend process {process.pid} was killed"
        return None

    def _all_backends(self) -> list[psutil.Process]:
        return self._children(self.triton) if self.triton is not None else []

    def _children(self, process: psutil.Process) -> list[psutil.Process]:
        try:
            return process.children()
        except psutil.Error:
            return []


def kill(processes: list[psutil.Process]) -> None:
    """Send SIGKILL, which also ends a stopped process."""
    for process in processes:
        try:
            process.kill()
        except psutil.Error:
            continue


def _alive(process: psutil.Process) -> bool:
    return _status(process) not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def _status(process: psutil.Process) -> str:
    """Return the status; dead if the process id belongs to another process by now."""
    try:
        return str(process.status()) if process.is_running() else psutil.STATUS_DEAD
    except psutil.Error:
        return psutil.STATUS_DEAD


def _argument(process: psutil.Process) -> str:
    """Return the model's file, which is a backend process's first argument."""
    try:
        arguments = process.cmdline()
    except psutil.Error:
        return ""
    return arguments[1] if len(arguments) > 1 else ""
