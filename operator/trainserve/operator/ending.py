"""The end of the process when one of its watches ends: otherwise its cache would become stale without any error.

Kopf retries transient errors, and gives a watch up on others: a response that is not JSON, a kind that is not served.
It then stops the other watches and may wait for them forever, with its liveness port closed. The supervisor of the
process, such as the kubelet, starts it again, which is the only way to restart all watches.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from typing import Any, NoReturn

logger = logging.getLogger(__name__)

WATCHING = ("watcher for ", "multidimensional multitasker", "resource observer", "credentials retriever")
"""Prefixes of Kopf's names for the tasks that watch, and for those that start them by logging in and listing kinds."""
EVERY = 1.0
AT_LAST = 5.0
"""Seconds that an orderly shutdown may take: releasing the Lease, closing connections."""


class WatchEnded(Exception):
    """A watch has ended permanently."""


async def when_a_watch_does() -> NoReturn:
    """Supervise Kopf's watches. Raises WatchEnded when one ends by itself; an orderly stop cancels them instead."""
    ended: asyncio.Queue[asyncio.Task[Any]] = asyncio.Queue()

    def look(task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            # Called here rather than after the wait below: Kopf may stop everything else first, this task included.
            surely()
            ended.put_nowait(task)

    watching: set[asyncio.Task[Any]] = set()
    while True:
        for task in asyncio.all_tasks() - watching:
            if task.get_name().startswith(WATCHING):
                task.add_done_callback(look)
                watching.add(task)
        with contextlib.suppress(TimeoutError):
            task = await asyncio.wait_for(ended.get(), EVERY)
            raise WatchEnded(f"{task.get_name()}: {task.exception() or 'it has come to its end'}")
        watching = {task for task in watching if not task.done()}


def surely() -> None:
    """End the process after AT_LAST seconds, even if something blocks its shutdown."""
    threading.Thread(target=_end, name="end of the process", daemon=True).start()


def _end() -> None:
    threading.Event().wait(AT_LAST)
    logger.error("the process did not end in %.0f s by itself", AT_LAST)
    os._exit(1)
