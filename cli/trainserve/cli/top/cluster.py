"""Requests to a cluster's API server, and through it to the metrics of its pods.

All requests go through one `kubectl proxy` that runs as long as the command: only kubectl knows how a user signs in
(certificates, tokens, credential plugins), and a kubectl process for each request would take 0.1 s of CPU. The proxy
listens on a socket in a private folder, because any user of the machine could use a port, and it rejects requests that
write.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from trainserve.cli.endpoint import kubectl
from trainserve.cli.top.pods import Endpoint
from trainserve.cli.top.rows import clean
from trainserve.client import RequestFailed

Object = dict[str, Any]

LIST_SECONDS = 30.0
POD_SECONDS = 2.0
_START_SECONDS = 30.0
"""Enough for a credential plugin, which may ask a server of its own for the user's token."""
_STOP_SECONDS = 2.0
_MOST_BYTES = 2**20
"""Maximum size of a pod's answer, which may come from anybody's code."""
_NOT_PROXIED = "address not allowed"
"""Message of an API server that refuses to proxy to a pod's address: a loopback or link-local one."""
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_WATCHED = 'exec 3<&0; { read -r _ <&3; kill -TERM 0; } >/dev/null 2>&1 & exec "$@" 3<&- </dev/null'
"""Script for sh: runs its arguments as a command, and beside it a watchdog that ends the process group once standard
input is closed, by this process or, after a SIGKILL, by the kernel."""
_READ_ONLY = "--reject-methods=^(POST|PUT|PATCH|DELETE)$"


class Unanswered(Exception):
    """A pod gave no answer; the message says why."""


class Denied(Unanswered):
    """The user has no permission to get pods/proxy."""


class Api:
    """Requests to a cluster, inside the context of `opened`."""

    def __init__(
        self, context: str, namespace: str, lists: aiohttp.ClientSession, proxied: aiohttp.ClientSession,
        direct: aiohttp.ClientSession,
    ) -> None:  # fmt: skip
        self.context, self.namespace = context, namespace
        self._lists, self._proxied, self._direct = lists, proxied, direct

    async def items(self, path: str, **query: str) -> list[Object]:
        """List the objects at `path`, from the API server's cache: it may lag a moment behind, but spares etcd.

        Raises RequestFailed with kubectl's message.
        """
        try:
            async with self._lists.get(_url(path), params={"resourceVersion": "0", **query}) as answer:
                if answer.status == 200:
                    items: list[Object] = (await answer.json())["items"]
                    return items
                words = _words(await answer.read()) or f"HTTP status {answer.status}"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            words = str(error) or type(error).__name__
        raise RequestFailed(await _explained(path) or words)

    async def ask(self, endpoint: Endpoint, path: str) -> bytes:
        """Get `path` from a pod through the API server's proxy, within POD_SECONDS. Raises Unanswered, Denied.

        API servers refuse to proxy to loopback addresses, which the pods of a development cluster have. Such a pod
        runs on this machine, and is asked directly.
        """
        try:
            async with asyncio.timeout(POD_SECONDS):
                status, body = await _read(self._proxied, _url(endpoint.path + path))
                if status == 400 and _words(body) == _NOT_PROXIED:
                    address = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
                    status, body = await _read(self._direct, f"http://{address}:{endpoint.port}{path}")
        except TimeoutError:
            raise Unanswered(f"no answer within {POD_SECONDS:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unanswered(clean(error) or type(error).__name__) from None
        if status == 200:
            return body
        words = _words(body)
        if status == 403 and "pods/proxy" in words:
            raise Denied(words)
        raise Unanswered(words or f"HTTP status {status}")


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[Api]:
    """Open the cluster of kubectl's current context. Raises RequestFailed."""
    with tempfile.TemporaryDirectory(prefix="trainserve-top-") as folder:
        socket = Path(folder) / "socket"
        async with _proxy(socket) as started, contextlib.AsyncExitStack() as stack:

            async def session(connector: aiohttp.BaseConnector, **options: Any) -> aiohttp.ClientSession:
                made = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), **options)
                return await stack.enter_async_context(made)

            timeout = aiohttp.ClientTimeout(total=LIST_SECONDS)
            plain = {"auto_decompress": False, "headers": {"Accept-Encoding": "identity"}}
            (context, namespace), _ = await asyncio.gather(_current(), started)
            yield Api(
                context,
                namespace,
                await session(aiohttp.UnixConnector(str(socket)), timeout=timeout),
                await session(aiohttp.UnixConnector(str(socket)), **plain),
                await session(aiohttp.TCPConnector(), **plain),
            )


@contextlib.asynccontextmanager
async def _proxy(socket: Path) -> AsyncIterator[asyncio.Task[None]]:
    """Run `kubectl proxy` on `socket`, and yield a task that ends when it listens.

    It runs in a process group of its own, so that a Ctrl-C at the terminal does not reach it. The whole group ends with
    the context, or with this process, however that ends.
    """
    process = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", _WATCHED, "sh", kubectl(), "proxy", f"--unix-socket={socket}", _READ_ONLY),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    started = asyncio.create_task(_listens(process.stdout, process.stderr))
    drained = asyncio.create_task(_drain(process.stderr, started))
    try:
        yield started
    finally:
        process.stdin.close()
        for end in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, end)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
                break
        started.cancel()
        drained.cancel()


async def _listens(out: asyncio.StreamReader, err: asyncio.StreamReader) -> None:
    """Wait until the proxy listens. Raises RequestFailed with the last line that it printed."""
    try:
        async with asyncio.timeout(_START_SECONDS):
            line = await out.readline()  # "Starting to serve on …", or nothing when it failed
            words = "" if line else (await err.read()).decode(errors="replace")
    except TimeoutError:
        raise RequestFailed(f"kubectl proxy did not start within {_START_SECONDS:g} s") from None
    if not line:
        raise RequestFailed(f"kubectl proxy: {_last(words) or 'no error message'}")


async def _drain(err: asyncio.StreamReader, started: asyncio.Task[None]) -> None:
    """Discard what the proxy logs once it has started: it would block on a full pipe."""
    await asyncio.wait([started])
    while await err.read(2**16):
        pass


async def _current() -> tuple[str, str]:
    """Name of kubectl's current context, and its namespace."""
    status, out, err = await _run("config", "view", "--output=json")
    if status:
        raise RequestFailed(f"kubectl config view: {_last(err) or f'exit status {status}'}")
    config = json.loads(out)
    name = config.get("current-context") or ""
    if not name:  # in a pod, kubectl acts as the pod's ServiceAccount
        return "", _inside() or "default"
    contexts = {each.get("name"): each.get("context") or {} for each in config.get("contexts") or []}
    return clean(name), str(contexts.get(name, {}).get("namespace") or "default")


def _inside() -> str:
    """The namespace of the pod that this process runs in; empty outside a pod."""
    return _NAMESPACE_FILE.read_text().strip() if _NAMESPACE_FILE.is_file() else ""


async def _explained(path: str) -> str | None:
    """kubectl's own message about a path that could not be read; None if kubectl can read it."""
    status, _, err = await _run("get", "--raw", path, "--request-timeout=5s")
    return _last(err) if status else None


async def _run(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(kubectl(), *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()  # or its pipes are closed after the event loop
        raise
    return process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace")


async def _read(session: aiohttp.ClientSession, url: URL | str) -> tuple[int, bytes]:
    """Get `url`: HTTP status and body. Raises ValueError if the body is larger than _MOST_BYTES."""
    async with session.get(url, allow_redirects=False) as answer:
        body = b""
        async for chunk in answer.content.iter_chunked(2**16):
            body += chunk
            if len(body) > _MOST_BYTES:
                raise ValueError(f"the answer is larger than {_MOST_BYTES >> 10} KiB")
        return answer.status, body


def _url(path: str) -> URL:
    return URL(f"http://localhost{path}", encoded=True)


def _words(body: bytes) -> str:
    """The message of an API server's Status, or the first line of any other text."""
    try:
        status = json.loads(body)
    except (ValueError, RecursionError):
        return clean(body[:1000].decode(errors="replace").strip().partition("\n")[0])
    return clean(status.get("message")) if isinstance(status, Mapping) else ""


def _last(words: str) -> str:
    return clean((words.strip().splitlines() or [""])[-1])
