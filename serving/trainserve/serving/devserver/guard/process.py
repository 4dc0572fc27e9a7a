"""The guard's process: opens its ports before the server starts, and closes them before the server is stopped.

With a supervisor (`--guard=hold`), a server that crashed or was killed is started again behind the open ports. One that
had not answered an inference yet is not: that is for the supervisor to decide.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import uvloop  # type: ignore[import-not-found]  # in the server's own environment

from trainserve.serving.devserver.guard.client import Client
from trainserve.serving.devserver.guard.front import Front
from trainserve.serving.devserver.guard.messages import Request
from trainserve.serving.devserver.guard.recovery import Recovery

BACKLOG = 1024
ANNOUNCE_SECONDS = 1.0
"""How long a persistent connection may wait for the request whose answer will be its last. Closing an idle connection
can lose a request that is on its way; a client with a request in each such interval loses none."""


@dataclass(frozen=True)
class Port:
    """A port of the guard, the server's socket behind it, and the check of its requests."""

    host: str
    number: int
    socket: str
    screen: Callable[[Request], None]
    recovery: Recovery | None = None


def run(start: Callable[[], subprocess.Popen[bytes]], ports: Sequence[Port], drain_seconds: float) -> int:
    """Listen, start the server with `start`, and return its last exit status.

    On SIGTERM and SIGINT, current requests are answered with `Connection: close`, for `drain_seconds` at most. Idle
    connections are then closed, as they would use up the server's own exit timeout, and the server gets the signal.
    Other signals are forwarded to it. The caller must have blocked all signals; they are unblocked once they have
    handlers.
    """
    status: int = uvloop.run(_run(start, ports, drain_seconds))
    return status


async def _run(start: Callable[[], subprocess.Popen[bytes]], ports: Sequence[Port], drain_seconds: float) -> int:
    loop = asyncio.get_running_loop()
    fronts = [Front(port.socket, port.screen, port.recovery) for port in ports]
    listening = []
    for port, front in zip(ports, fronts, strict=True):
        try:
            listening.append(await loop.create_server(_protocol(front), port.host, port.number, backlog=BACKLOG))
        except OSError as error:
            words = os.strerror(error.errno) if error.errno else str(error)
            print(f"tritonserver: cannot listen on {port.host}:{port.number}: {words}", file=sys.stderr)
            return 1
    server = start()
    stopping: list[asyncio.Task[None]] = []

    async def stop(number: signal.Signals) -> None:
        for each in listening:
            each.close()
        drained = [asyncio.ensure_future(front.drained.wait()) for front in fronts]
        for front in fronts:
            front.announce()
        await asyncio.wait(drained, timeout=ANNOUNCE_SECONDS)
        for front in fronts:
            front.drain()
        await asyncio.wait(drained, timeout=drain_seconds - ANNOUNCE_SECONDS)
        server.send_signal(number)

    def on_stop(number: signal.Signals) -> None:
        if stopping:
            server.send_signal(number)
        else:
            stopping.append(loop.create_task(stop(number)))

    def pass_on(number: signal.Signals) -> None:
        server.send_signal(number)  # to the current server

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_stop, number)
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        loop.add_signal_handler(number, pass_on, number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
    recoveries = [port.recovery for port in ports if port.recovery is not None]
    while True:
        status = await _end_of(server)
        if status >= 0 or stopping:
            return status
        anew = any(recovery.answered for recovery in recoveries)
        words = " and started anew" if anew else ""
        print(f"tritonserver: ended by {signal.Signals(-status).name}{words}", file=sys.stderr, flush=True)
        if not anew:
            return status
        for recovery in recoveries:
            recovery.started()
        server = start()


async def _end_of(server: subprocess.Popen[bytes]) -> int:
    ended, living = asyncio.Event(), os.pidfd_open(server.pid)
    loop = asyncio.get_running_loop()
    loop.add_reader(living, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(living)
        os.close(living)
    return server.wait()


def _protocol(front: Front) -> Callable[[], Client]:
    return lambda: Client(front)
