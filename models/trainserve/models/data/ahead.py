"""An ordered parallel map that works a little ahead of its consumer."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def ahead(
    work: Callable[[_Item], _Result],
    items: Iterable[_Item],
    workers: int,
    name: str,
    stopped: threading.Event | None = None,
) -> Iterator[_Result]:
    """`map(work, items)` in `workers` threads, that many results ahead.

    `items` is iterated in the caller's thread. The first error, in the order of items, is raised. Then, or when the
    caller stops early, work that has not begun is cancelled and `stopped` is set, so that long work can end early.
    """
    waiting: deque[Future[_Result]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix=name)
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        if stopped is not None:
            stopped.set()
        pool.shutdown(wait=True, cancel_futures=True)
