"""Work done by threads a little ahead of whoever wants its results, in order."""

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
    """`map(work, items)` by `workers` threads, a result for each of them ahead.

    `items` is drawn from in the caller's thread. The first error in the items' order is raised; what is not begun then,
    or when the caller stops early, never is; and `stopped` is set, so that long work can end early.
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
