"""Probes: single checks, and a container's health as derived from consecutive results."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

Object = dict[str, Any]
Execute = Callable[[list[str]], Awaitable[tuple[int, str]]]
"""Runs a command in the container; returns its exit code and output."""


@dataclass(frozen=True)
class Belief:
    """State of a probe: `healthy`, and the number `run` of consecutive results equal to `last`."""

    healthy: bool
    last: bool | None = None
    run: int = 0


def judge(belief: Belief, success: bool, probe: Object) -> Belief:
    """Return the state after one more result: `failureThreshold` or `successThreshold` equal results change it."""
    run = belief.run + 1 if success == belief.last else 1
    threshold = probe.get("successThreshold", 1) if success else probe.get("failureThreshold", 3)
    return Belief(success if run >= threshold else belief.healthy, success, run)


class Prober:
    """Runs the checks of one container: `pod_ip` is the default host, `execute` runs commands in the container."""

    def __init__(self, session: aiohttp.ClientSession, container: Object, pod_ip: str, execute: Execute) -> None:
        self._session = session
        self._container = container
        self._pod_ip = pod_ip
        self._execute = execute

    async def check(self, probe: Object) -> tuple[bool, str]:
        """Run one check within the probe's timeout; return whether it succeeded, and its message."""
        try:
            async with asyncio.timeout(probe.get("timeoutSeconds", 1)):
                return await self._check(probe)
        except TimeoutError:
            return False, f"probe timed out after {probe.get('timeoutSeconds', 1)} s"
        except (OSError, ValueError, aiohttp.ClientError) as error:
            return False, str(error)

    async def _check(self, probe: Object) -> tuple[bool, str]:
        if action := probe.get("exec"):
            code, output = await self._execute(action["command"])
            return code == 0, output
        if action := probe.get("httpGet"):
            status, body = await self.http_get(action)
            # Redirects are not followed and count as success (pkg/probe/http).
            return 200 <= status < 400, f"HTTP probe failed with statuscode: {status}" + (f": {body}" if body else "")
        action = probe.get("tcpSocket")
        if not action:
            return False, "this node makes exec, httpGet and tcpSocket probes only"
        _, writer = await asyncio.open_connection(action.get("host") or self._pod_ip, self._port(action["port"]))
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True, ""

    async def http_get(self, action: Object) -> tuple[int, str]:
        """Return status and first 200 bytes of the response to an `httpGet`. Raises OSError, aiohttp.ClientError."""
        host = action.get("host") or self._pod_ip
        scheme, path = action.get("scheme", "HTTP").lower(), action.get("path", "/").lstrip("/")
        url = f"{scheme}://{host}:{self._port(action['port'])}/{path}"
        headers = {"User-Agent": "kube-probe/1.20", "Connection": "close"}
        headers |= {each["name"]: each["value"] for each in action.get("httpHeaders", ())}
        async with self._session.get(url, headers=headers, allow_redirects=False) as response:
            return response.status, (await response.content.read(200)).decode(errors="replace")

    def _port(self, port: int | str) -> int:
        return named_port(self._container, port)


def named_port(container: Object, port: int | str) -> int:
    """Return the number of `port`, a number or the name of a container port. Raises OSError for an unknown name."""
    if isinstance(port, int) or port.isdigit():
        return int(port)
    for each in container.get("ports", ()):
        if each.get("name") == port:
            return int(each["containerPort"])
    raise OSError(f"container {container['name']} has no port named {port!r}")


def probe_session() -> aiohttp.ClientSession:
    """Return a session for probes that does not verify certificates (nor does a kubelet) or reuse connections."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, force_close=True, limit=0))


async def watch(
    check: Callable[[], Awaitable[tuple[bool, str]]],
    probe: Object,
    *,
    healthy: bool,
    delay: float,
    changed: Callable[[bool, str], None],
    failed: Callable[[str], None],
) -> None:
    """Run `check` once per period, endlessly, after `delay` seconds.

    `changed` is called with each new state and the message, `failed` with the message of each failure.
    """
    await asyncio.sleep(delay)
    belief = Belief(healthy)
    while True:
        success, message = await check()
        if not success:
            failed(message)
        was, belief = belief.healthy, judge(belief, success, probe)
        if belief.healthy != was:
            changed(belief.healthy, message)
        await asyncio.sleep(probe.get("periodSeconds", 10))
