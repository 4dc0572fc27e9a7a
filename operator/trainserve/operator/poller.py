"""The poller of pods: shared by all objects, with few connections, for training progress and serving reports.

The operator pulls, so pods need no credentials, and a lost response only delays the news until the next request.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from trainserve.operator import said
from trainserve.operator.logs import about, text_of
from trainserve.operator.workqueue import Key

logger = logging.getLogger(__name__)

TICK = 0.25
TIMEOUT = aiohttp.ClientTimeout(total=2.0)
CONNECTIONS = 32
MAX_BYTES = 64 * 1024
"""Longest response, in bytes, that is read: a pod may run untrusted code."""


@dataclass(frozen=True)
class Target:
    """An endpoint to poll, and its interval."""

    url: str
    every: float
    """Seconds."""


@dataclass
class _Followed:
    target: Target
    due: float
    answer: dict[str, Any] | None = None
    asking: bool = False


class Poller:
    """Holder of the latest answer of each followed target; wakes the target's key when the answer changes."""

    def __init__(self, wake: Callable[[Key], None]) -> None:
        self._wake = wake
        self._followed: dict[Key, dict[str, _Followed]] = {}

    def follow(self, key: Key, targets: Mapping[str, Target]) -> None:
        """Poll exactly these targets on behalf of `key`. They are keyed by an identity that changes with the pod."""
        before = self._followed.pop(key, {})
        kept = {}
        for identity, target in targets.items():
            known = before.get(identity)
            if known is None or known.target.url != target.url:
                known = _Followed(target, due=0.0)
            else:
                known.due -= max(0.0, known.target.every - target.every)
                known.target = target
            kept[identity] = known
        if kept:
            self._followed[key] = kept

    def answers(self, key: Key) -> dict[str, dict[str, Any]]:
        """Return the latest answer of each target of `key` that has given one, by identity."""
        followed = self._followed.get(key, {})
        return {identity: found.answer for identity, found in followed.items() if found.answer is not None}

    async def run(self) -> None:
        """Poll the followed targets until cancelled."""
        connector = aiohttp.TCPConnector(limit=CONNECTIONS)
        async with aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session, asyncio.TaskGroup() as tasks:
            while True:
                now = time.monotonic()
                for key, targets in self._followed.items():
                    for followed in targets.values():
                        if followed.due <= now and not followed.asking:
                            followed.asking = True
                            tasks.create_task(self._ask(session, key, followed))
                await asyncio.sleep(TICK)

    async def _ask(self, session: aiohttp.ClientSession, key: Key, followed: _Followed) -> None:
        try:
            async with session.get(followed.target.url, allow_redirects=False) as response:
                answer = said.read(await _body(response.content)) if response.status == 200 else None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            logger.debug("%s %s/%s: %s: %s", *key, followed.target.url, text_of(error), extra=about(*key))
            answer = None
        except Exception:
            # No response of one pod may stop the polling of the others.
            logger.exception("%s %s/%s: the answer of %s cannot be read", *key, followed.target.url, extra=about(*key))
            answer = None
        finally:
            followed.asking = False
            followed.due = time.monotonic() + followed.target.every
        if answer is not None and answer != followed.answer:
            followed.answer = answer
            self._wake(key)


async def _body(content: aiohttp.StreamReader) -> bytes:
    """Return the whole body, or its first MAX_BYTES; a single `read` may return only what has arrived so far."""
    body = bytearray()
    while len(body) < MAX_BYTES and (chunk := await content.read(MAX_BYTES - len(body))):
        body += chunk
    return bytes(body)
