"""Records of pods and containers on disk, from which a restarted agent resumes.

`pods/<uid>/pod.json`                              the Pod's address and devices
`pods/<uid>/hosts`                                 its /etc/hosts
`pods/<uid>/volumes/<volume>/`                     volumes that live with the pod
`pods/<uid>/containers/<name>/<n>/`                attempt n: attempt.json, log, termination, started.json, exit.json
"""

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainserve.dev.agent.launcher import write_atomically

TERMINATION_BYTES = 4096


@dataclass(frozen=True)
class Waiting:
    """State of a container that has not started, with reason and message as `kubectl describe pod` shows them."""

    reason: str = "ContainerCreating"
    message: str = ""


@dataclass(frozen=True)
class Running:
    """State of a running container, with its start as a Unix time in seconds."""

    started_at: float


@dataclass(frozen=True)
class Terminated:
    """State of a container that has ended; times are Unix times in seconds, 0 if it never ran."""

    exit_code: int
    reason: str
    message: str
    started_at: float
    finished_at: float
    container_id: str


State = Waiting | Running | Terminated


@dataclass(frozen=True)
class ContainerRecord:
    """A container as its status shows it. `started` and `ready` are results of its probes."""

    name: str
    image: str
    state: State = Waiting()
    last: Terminated | None = None
    restarts: int = 0
    started: bool = False
    ready: bool = False
    container_id: str = ""


def ran_seconds(ended: Terminated) -> float:
    """Return for how many seconds a container ran; 0 if it could not be started."""
    return ended.finished_at - ended.started_at if ended.started_at else 0.0


@dataclass(frozen=True)
class Attempt:
    """One start of a container, identified by the folder with its records."""

    folder: Path

    @property
    def number(self) -> int:
        """Number of the attempt: 0 for the first start, then the restart count."""
        return int(self.folder.name)

    @property
    def log(self) -> Path:
        """The file with both output streams, as written."""
        return self.folder / "log"

    @property
    def termination(self) -> Path:
        """The file at the container's `terminationMessagePath`."""
        return self.folder / "termination"

    @property
    def container_id(self) -> str:
        """The id in the container's status, made of the attempt's path under `pods`."""
        uid, _, name, number = self.folder.parts[-4:]
        return f"process://{uid}/{name}/{number}"

    @property
    def group(self) -> str:
        """The name of the attempt's cgroups."""
        uid, _, name, number = self.folder.parts[-4:]
        return f"{uid}-{name}-{number}"

    def create(self, *, backoff: float) -> None:
        """Create the folder. `backoff` is the delay in seconds that preceded this attempt."""
        self.folder.mkdir(parents=True)
        self.termination.touch(0o666)
        self.termination.chmod(0o666)
        write_atomically(self.folder / "attempt.json", {"backoff": backoff})

    def backoff(self) -> float:
        """Return the delay in seconds that preceded this attempt."""
        return float(_load(self.folder / "attempt.json").get("backoff", 0.0))

    def started_at(self) -> float | None:
        """Return the Unix time in seconds at which the command started; None before."""
        started_at: float | None = _load(self.folder / "started.json").get("startedAt")
        return started_at

    def ended(self) -> bool:
        """Return whether the attempt's end has been recorded."""
        return (self.folder / "exit.json").exists()

    def mark_out_of_memory(self) -> None:
        """Record that the kernel killed the attempt for its memory limit; its cgroup, once removed, cannot tell."""
        (self.folder / "out-of-memory").touch()

    def result(self, *, policy: str) -> Terminated:
        """Return how the attempt ended. `policy` is the container's terminationMessagePolicy."""
        exited = _load(self.folder / "exit.json")
        code: int = exited["exitCode"]
        message = termination_message(self, policy, failed=code != 0)
        if "error" in exited:
            reason, message = "StartError", exited["error"]
        elif exited.get("lost"):
            reason = "ContainerStatusUnknown"
            message = "the process ended while nothing on the node could learn its exit code"
        elif (self.folder / "out-of-memory").exists():
            reason = "OOMKilled"
        else:
            reason = "Completed" if code == 0 else "Error"
        return Terminated(code, reason, message, self.started_at() or 0.0, exited["finishedAt"], self.container_id)


def termination_message(attempt: Attempt, policy: str, *, failed: bool) -> str:
    """Return a container's termination message: at most 4096 bytes, or 80 lines and 2048 bytes of its log.

    The limits are those of pkg/kubelet/kuberuntime.
    """
    message = _tail(attempt.termination, TERMINATION_BYTES)
    if not message and failed and policy == "FallbackToLogsOnError":
        message = "\n".join(_tail(attempt.log, 2048).splitlines()[-80:])
    return message


@dataclass(frozen=True)
class PodFolder:
    """A pod's state on disk."""

    path: Path

    @property
    def hosts(self) -> Path:
        """The file bound to /etc/hosts."""
        return self.path / "hosts"

    def volume(self, name: str) -> Path:
        """Return a volume's folder."""
        return self.path / "volumes" / name

    def attempts(self, container: str) -> list[Attempt]:
        """Return a container's attempts that are still on disk, oldest first."""
        folder = self.path / "containers" / container
        if not folder.is_dir():
            return []
        return [Attempt(each) for each in sorted(folder.iterdir(), key=lambda each: int(each.name))]

    def attempt(self, container: str, number: int) -> Attempt:
        """Return a container's attempt of that number, whether or not it exists."""
        return Attempt(self.path / "containers" / container / str(number))

    def forget_before(self, container: str, number: int) -> None:
        """Delete attempts older than `number`."""
        for attempt in self.attempts(container):
            if attempt.number < number:
                shutil.rmtree(attempt.folder, ignore_errors=True)

    def load(self) -> dict[str, Any]:
        """Read the pod's own record; empty for a new pod."""
        return _load(self.path / "pod.json")

    def save(self, record: dict[str, Any]) -> None:
        """Write the pod's own record."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / "pod.json", record)


def restarted(record: ContainerRecord) -> ContainerRecord:
    """Return the record of a container that is about to restart."""
    last = record.state if isinstance(record.state, Terminated) else record.last
    return replace(record, state=Waiting(), last=last, restarts=record.restarts + 1, started=False, ready=False)


def _tail(path: Path, size: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            return file.read(size).decode(errors="replace")
    except FileNotFoundError:
        return ""


def _load(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return value
