"""The processes of a development server: the launcher, the server below it, and a process for each instance of a model
of the python backend. Those of the onnxruntime backend run in the server's own.

A backend process that was killed or stopped is seen here at once, whichever of a model's instances it ran; an
inference finds it only when it happens to be sent there.
"""

from __future__ import annotations

from pathlib import Path

import psutil

_STOPPED = frozenset({psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP})


class Processes:
    """Those below one launcher, by its process id; `repository` tells which model a backend process runs."""

    def __init__(self, launcher: int, repository: Path) -> None:
        self.launcher, self.repository = psutil.Process(launcher), repository.resolve()
        self.triton: psutil.Process | None = None
        """The server, once it was `found`: the launcher may start another in its place."""

    def found(self) -> None:
        """Called when the server has answered."""
        self.triton = next(iter(self._children(self.launcher)), None)

    def server(self) -> list[psutil.Process]:
        """The launcher and the server, as far as they are there."""
        return [self.launcher, *self._children(self.launcher)]

    def replaced(self) -> bool:
        """Whether the launcher has another server in the place of the one that was found, which ended. It said how."""
        gone = self.triton is None or _status(self.triton) == psutil.STATUS_DEAD
        return gone and any(_alive(process) for process in self._children(self.launcher))

    def whole(self) -> bool:
        """Whether the launcher and the server that was found are there and alive."""
        return _alive(self.launcher) and self.triton is not None and _alive(self.triton)

    def launching(self) -> bool:
        """Whether the launcher runs, so that it starts another server where this one is killed."""
        return _alive(self.launcher) and _status(self.launcher) not in _STOPPED

    def backends(self, model: str) -> list[psutil.Process]:
        """The backend processes of a model."""
        folder = str(self.repository / model) + "/"
        return [process for process in self._all_backends() if _argument(process).startswith(folder)]

    def stopped(self) -> str | None:
        """What is wrong with the server itself, in words: a process of it that was stopped does nothing and says so to
        nobody."""
        for process in self.server():
            if _status(process) in _STOPPED:
                return f"its process {process.pid} was stopped"
        return None

    def fault(self, backends: list[psutil.Process]) -> str | None:
        """What is wrong with backend processes that were there, in words. One that the server ended itself, when the
        model was unloaded or loaded anew, is gone for good; one that was killed waits for it as a zombie."""
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
    """SIGKILL, which a stopped process obeys, too."""
    for process in processes:
        try:
            process.kill()
        except psutil.Error:
            continue


def _alive(process: psutil.Process) -> bool:
    return _status(process) not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def _status(process: psutil.Process) -> str:
    """Of a process whose id may belong to another by now: psutil compares when they began."""
    try:
        return str(process.status()) if process.is_running() else psutil.STATUS_DEAD
    except psutil.Error:
        return psutil.STATUS_DEAD


def _argument(process: psutil.Process) -> str:
    """The model's file, which is the first thing a backend process is told."""
    try:
        arguments = process.cmdline()
    except psutil.Error:
        return ""
    return arguments[1] if len(arguments) > 1 else ""
