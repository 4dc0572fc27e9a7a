"""The agent's requests to the API server, and its watches."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Literal

import aiohttp
from kubernetes.aio.client import Configuration

from trainserve.operator.api_error import ApiError, Refused, refusal
from trainserve.operator.objects import Object
from trainserve.operator.rest import STRATEGIC, Requests

__all__ = ["Client", "EventKind", "Object", "Refused"]

EventKind = Literal["ADDED", "MODIFIED", "DELETED", "SYNCED"]

WATCH_SECONDS = 600
WATCH_LIMITS = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=WATCH_SECONDS + 30)
RETRY_SECONDS = 0.5

logger = logging.getLogger(__name__)


class Client:
    """Requests to one API server with one user's credentials. Paths start at the server's root."""

    def __init__(self, config: Configuration) -> None:
        self.server = config.host
        self._requests = Requests(config, "trainserve-agent")

    async def close(self) -> None:
        """Close every connection."""
        await self._requests.close()

    async def get(self, path: str, **params: str) -> Object:
        """Read an object or a list. Raises Refused, aiohttp.ClientError."""
        return await self._requests.send("GET", path, query=params)

    async def create(self, path: str, body: Object) -> Object:
        """Create an object in the collection at `path`. Raises Refused, aiohttp.ClientError."""
        return await self._requests.send("POST", path, body)

    async def patch(self, path: str, body: Object) -> Object:
        """Apply a strategic merge patch. Raises Refused, aiohttp.ClientError."""
        return await self._requests.send("PATCH", path, body, content_type=STRATEGIC)

    async def delete(self, path: str, body: Object) -> None:
        """Delete an object with DeleteOptions `body`. Raises Refused, aiohttp.ClientError."""
        await self._requests.send("DELETE", path, body)

    async def watch(self, path: str, **params: str) -> AsyncIterator[tuple[EventKind, Object]]:
        """Yield every object of a collection, then every change, endlessly and across restarts of the API server.

        `("SYNCED", list)` follows each listing: objects missing from `list["items"]` have been deleted.
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
            except (Refused, aiohttp.ClientError, TimeoutError, OSError) as error:
                if str(error) != told:  # an outage is logged once, not at every attempt
                    logger.warning("watch of %s: %s", path, error)
                told = str(error)
            await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self, path: str, version: str, params: dict[str, str]) -> AsyncIterator[tuple[EventKind, Object]]:
        """Yield changes after `version`, in as many watches as needed, until the server reports that it has expired."""
        while True:
            query = params | {
                "watch": "true",
                "allowWatchBookmarks": "true",
                "timeoutSeconds": str(WATCH_SECONDS),
                "resourceVersion": version,
            }
            answer = await self._requests.open("GET", path, query=query, limits=WATCH_LIMITS)
            async with answer.response:
                if answer.status >= 400:
                    raise refusal(answer.status, await answer.read())
                async for line in _lines(answer.response.content):
                    event = json.loads(line)
                    item = event["object"]
                    if event["type"] == "ERROR":
                        raise ApiError(item.get("code", 500), item.get("reason", ""), item.get("message", ""))
                    version = item["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        yield event["type"], item


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    # StreamReader.readline refuses lines over 128 KiB; an object may have 1.5 MiB.
    rest = b""
    async for chunk in stream.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
