"""The agent's client of the launcher: start, signal and exec, and notification when a container has ended."""

import asyncio
import contextlib
import itertools
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainserve.dev.agent.launcher import socket_path
from trainserve.dev.agent.sandbox import Mount

MESSAGE_BYTES = 1 << 22

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Process:
    """A container's main process, ready to be started: all references are expanded."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    hostname: str
    mounts: Sequence[Mount]
    cgroups: Sequence[Path] = field(default=())
    read_only: bool = False
    """Whether the root file system is read-only, so that only volumes can be written."""


@dataclass(frozen=True)
class CommandResult:
    """Result of a command in a container; `output` is the first 10 KiB of both streams."""

    exit_code: int
    output: str


class Runtime:
    """Container processes of the agent with state in `directory`; they are the launcher's and outlive this object."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._exits: dict[str, set[asyncio.Future[None]]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._connected = asyncio.Event()

    async def run(self) -> None:
        """Keep a launcher running and process its messages, until cancelled."""
        while True:
            reader = await self._connect()
            self._connected.set()
            for folder in list(self._exits):
                self._adopt(Path(folder))
            with contextlib.suppress(OSError):
                while line := await reader.readline():
                    self._dispatch(json.loads(line))
            self._connected.clear()
            logger.warning("the launcher has ended; starting another")
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(ConnectionError("the launcher has ended"))
            self._answers.clear()

    async def start(self, folder: Path, process: Process) -> None:
        """Start the container of the attempt in `folder`. Idempotent; a failure to start is recorded in `exit.json`."""
        await self._request(
            op="start",
            folder=str(folder),
            argv=process.argv,
            env=process.env,
            cwd=process.cwd,
            hostname=process.hostname,
            mounts=process.mounts,
            readOnly=process.read_only,
            cgroups=[str(group) for group in process.cgroups],
        )

    async def wait(self, folder: Path) -> None:
        """Return once the started container's `exit.json` exists."""
        if (folder / "exit.json").exists():
            return
        ended = asyncio.get_running_loop().create_future()
        waiting = self._exits.setdefault(str(folder), set())
        waiting.add(ended)
        self._adopt(folder)
        try:
            await ended
        finally:
            waiting.discard(ended)
            if not waiting:
                self._exits.pop(str(folder), None)

    async def execute(self, folder: Path, argv: Sequence[str], env: Mapping[str, str], cwd: str) -> CommandResult:
        """Run a command inside a running container; cancelling this call kills the command."""
        number = next(self._ids)
        try:
            answer = await self._ask(number, op="exec", folder=str(folder), argv=argv, env=env, cwd=cwd)
        except asyncio.CancelledError:
            self._send(op="kill", exec=number)
            raise
        return CommandResult(answer["exitCode"], answer["output"])

    async def signal(self, folder: Path, number: signal.Signals) -> None:
        """Send a signal to a container's main process, if it still runs."""
        await self._connected.wait()
        self._send(op="signal", folder=str(folder), signal=int(number))

    async def kill(self, folder: Path) -> None:
        """SIGKILL all processes of a container, if any still run."""
        await self._connected.wait()
        self._send(op="kill", folder=str(folder))

    async def _request(self, **message: Any) -> dict[str, Any]:
        # Every request is idempotent, so it can be repeated to the launcher's successor.
        while True:
            with contextlib.suppress(ConnectionError):
                return await self._ask(next(self._ids), **message)

    async def _ask(self, number: int, **message: Any) -> dict[str, Any]:
        await self._connected.wait()
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        self._send(id=number, **message)
        try:
            return await answer
        finally:
            self._answers.pop(number, None)

    def _adopt(self, folder: Path) -> None:
        if self._connected.is_set() and (folder / "started.json").exists():
            self._send(op="adopt", folder=str(folder), started=json.loads((folder / "started.json").read_text()))

    def _send(self, **message: Any) -> None:
        if self._writer is not None:
            self._writer.write(json.dumps(message).encode() + b"\n")

    def _dispatch(self, message: dict[str, Any]) -> None:
        if "exited" in message:
            for ended in self._exits.pop(message["exited"], set()):
                if not ended.done():
                    ended.set_result(None)
        elif (answer := self._answers.get(message["id"])) and not answer.done():
            answer.set_result(message)

    async def _connect(self) -> asyncio.StreamReader:
        self._directory.mkdir(parents=True, exist_ok=True)
        directory = os.open(self._directory, os.O_PATH)
        try:
            while True:
                with contextlib.suppress(OSError):
                    reader, self._writer = await asyncio.open_unix_connection(
                        socket_path(directory), limit=MESSAGE_BYTES
                    )
                    return reader
                await self._spawn()
        finally:
            os.close(directory)

    async def _spawn(self) -> None:
        """Start a launcher in its own session, and wait until it listens or has ended."""
        ready, theirs = os.pipe()
        command = [sys.executable, "-m", "trainserve.dev.agent.launcher", str(self._directory), str(theirs)]
        with (self._directory / "launcher.log").open("ab") as log:
            await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs],
                start_new_session=True,
                cwd="/",
            )
        os.close(theirs)
        await asyncio.to_thread(os.read, ready, 1)
        os.close(ready)
