"""The process ends when one of its watches has: what it knows of the cluster would grow old without a word.

Kopf retries what may pass, and gives a watch up for the rest: an answer that is no JSON, a kind that is not served. It
then stops the others and may wait for them for ever, its liveness port closed. Whoever supervises the process starts it
anew, which is the one way to begin all watches again.
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
"""How Kopf names the task of each watch, and those that start them: what it cannot list or log in to, it cannot watch.
"""
EVERY = 1.0
AT_LAST = 5.0
"""Seconds that an orderly end may take: releasing the Lease, closing connections."""


class WatchEnded(Exception):
    """A watch that has ended for good."""


async def when_a_watch_does() -> NoReturn:
    """Look after Kopf's watches. Raises WatchEnded for one that ended by itself: an orderly stop cancels them."""
    ended: asyncio.Queue[asyncio.Task[Any]] = asyncio.Queue()

    def look(task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            # At once: Kopf may stop everything else, this included, before it comes to wait.
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
    """End the process after AT_LAST seconds, whatever keeps it."""
    threading.Thread(target=_end, name="end of the process", daemon=True).start()


def _end() -> None:
    threading.Event().wait(AT_LAST)
    logger.error("the process did not end in %.0f s by itself", AT_LAST)
    os._exit(1)
