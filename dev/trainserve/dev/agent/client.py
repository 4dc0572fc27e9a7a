"""A small asynchronous client of the Kubernetes API: plain JSON objects over aiohttp.

lightkube reads the kubeconfig; its typed objects would cost the agent most of its time at a thousand pods a minute.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import aiohttp
from lightkube import KubeConfig
from lightkube.config.client_adapter import verify_cluster

Object = dict[str, Any]
EventKind = Literal["ADDED", "MODIFIED", "DELETED", "SYNCED"]

STRATEGIC_MERGE = "application/strategic-merge-patch+json"
WATCH_SECONDS = 600
RETRY_SECONDS = 0.5

logger = logging.getLogger(__name__)


class ApiError(Exception):
    """The API server refused a request: HTTP `status` and Kubernetes `reason` (such as NotFound)."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class Client:
    """Requests to one API server with one user's credentials. Paths start at the server's root."""

    def __init__(self, kubeconfig: Path) -> None:
        config = KubeConfig.from_file(kubeconfig).get()
        assert config is not None and config.user is not None
        self.server = config.cluster.server.rstrip("/")
        headers = {"User-Agent": "trainserve-agent"}
        headers |= {"Authorization": f"Bearer {config.user.token}"} if config.user.token else {}
        self._session = aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(ssl=verify_cluster(config.cluster, config.user, config.abs_file), limit=32),
            timeout=aiohttp.ClientTimeout(total=30),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def get(self, path: str, **params: str) -> Object:
        """Read an object or a list. Raises ApiError, aiohttp.ClientError."""
        return await self._request("GET", path, params=params)

    async def create(self, path: str, body: Object) -> Object:
        """Create an object in the collection at `path`. Raises ApiError, aiohttp.ClientError."""
        return await self._request("POST", path, json=body)

    async def patch(self, path: str, body: Object) -> Object:
        """Strategic merge patch. Raises ApiError, aiohttp.ClientError."""
        data = json.dumps(body)
        return await self._request("PATCH", path, data=data, headers={"Content-Type": STRATEGIC_MERGE})

    async def delete(self, path: str, body: Object) -> None:
        """Delete an object with DeleteOptions `body`. Raises ApiError, aiohttp.ClientError."""
        await self._request("DELETE", path, json=body)

    async def watch(self, path: str, **params: str) -> AsyncIterator[tuple[EventKind, Object]]:
        """Every object of a collection and every change to it, for ever; through restarts of the API server.

        After each listing comes `("SYNCED", list)`: what was known and is not in `list["items"]` has been deleted.
        """
        told = ""
        while True:
            try:
                listing = await self.get(path, **params)
                for item in listing["items"]:
                    yield "ADDED", item
                yield "SYNCED", listing
                async for kind, item in self._follow(path, listing["metadata"]["resourceVersion"], params):
                    yield kind, item
            except (ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
                if str(error) != told:  # an outage is said once, not at every attempt
                    logger.warning("watch of %s: %s", path, error)
                told = str(error)
            await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self, path: str, version: str, params: dict[str, str]) -> AsyncIterator[tuple[EventKind, Object]]:
        """Changes after `version`, over as many watches as it takes, until the server has forgotten that version."""
        while True:
            query = params | {
                "watch": "true",
                "allowWatchBookmarks": "true",
                "timeoutSeconds": str(WATCH_SECONDS),
                "resourceVersion": version,
            }
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=WATCH_SECONDS + 30)
            async with self._session.get(self.server + path, params=query, timeout=timeout) as response:
                await _raise_refusal(response)
                async for line in _lines(response.content):
                    event = json.loads(line)
                    item = event["object"]
                    if event["type"] == "ERROR":
                        raise ApiError(item.get("code", 500), item.get("reason", ""), item.get("message", ""))
                    version = item["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        yield event["type"], item

    async def _request(self, method: str, path: str, **options: Any) -> Object:
        async with self._session.request(method, self.server + path, **options) as response:
            await _raise_refusal(response)
            answer: Object = json.loads(await response.read())
            return answer


async def _raise_refusal(response: aiohttp.ClientResponse) -> None:
    if response.status < 400:
        return
    text = await response.text()
    reason = message = text.strip()
    with contextlib.suppress(ValueError, AttributeError):
        status = json.loads(text)
        reason, message = status.get("reason", ""), status.get("message", text)
    raise ApiError(response.status, reason, message)


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    # StreamReader.readline refuses lines over 128 KiB; an object may have 1.5 MiB.
    rest = b""
    async for chunk in stream.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
