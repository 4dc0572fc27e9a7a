"""The synchronous client: runs the asyncio client in an event loop, in a thread that all clients of a process share.

There is thus one implementation, and deadlines hold to the millisecond whatever a server does, which blocking sockets
cannot guarantee: their timeouts apply to single reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import selectors
import threading
import weakref
from collections.abc import Coroutine, Mapping, Sequence
from functools import cache, partial
from types import TracebackType
from typing import Any, Self, TypeVar

from trainserve.client.addresses import Protocol
from trainserve.client.aio import AsyncClient
from trainserve.client.model import Array, ModelInfo, Predictions, TensorInfo

CLOSE_SECONDS = 2.0

T = TypeVar("T")


class Client:
    """AsyncClient with blocking methods, which any number of threads may call concurrently.

    It closes itself when it is garbage-collected and at the end of the process. A forked process opens connections of
    its own; gRPC's library is not known to support that.
    """

    def __init__(
        self, addresses: str | Sequence[str], protocol: Protocol | None = None, timeout: float = 30.0, retries: int = 3
    ) -> None:
        """Create a client; the arguments are those of AsyncClient."""
        self._make = partial(AsyncClient, addresses, protocol, timeout, retries)
        self._begin()
        self.url, self.protocol, self.timeout = self._client.url, self._client.protocol, timeout

    def _begin(self) -> None:
        self._client, self._process = self._make(), os.getpid()
        self._finalizer = weakref.finalize(self, _close, self._client, self._process)

    def _here(self) -> AsyncClient:
        if self._process != os.getpid():
            self._begin()
        return self._client

    def close(self) -> None:
        """Close every connection."""
        self._finalizer()

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        self.close()

    def models(self) -> list[str]:
        """List the names of the models that are ready."""
        return _wait(self._here().models())

    def model(self, name: str) -> ModelInfo:
        """Describe a served model: its version, inputs and outputs."""
        return _wait(self._here().model(name))

    def infer(self, model: ModelInfo, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run inference on one batch of at most `model.max_batch` rows; returns all outputs by name."""
        return _wait(self._here().infer(model, inputs))

    def labels(self, model: ModelInfo, output: TensorInfo, inputs: Mapping[str, Array]) -> list[str]:
        """List the labels of the classes of `output` (AsyncClient.labels)."""
        return _wait(self._here().labels(model, output, inputs))

    def predict(self, name: str, inputs: Array | Mapping[str, Array]) -> Predictions:
        """Predict the class probabilities of any number of rows (AsyncClient.predict)."""
        return _wait(self._here().predict(name, inputs))


@cache
def _started() -> asyncio.AbstractEventLoop:
    selector = selectors.DefaultSelector()
    loop = asyncio.SelectorEventLoop(selector)
    threading.Thread(target=loop.run_forever, name="trainserve-client", daemon=True).start()
    os.register_at_fork(after_in_child=partial(_part, loop, selector))
    return loop


def _loop() -> asyncio.AbstractEventLoop:
    with _starting:  # concurrent first calls must not each start a loop
        return _started()


_starting = threading.Lock()


def _part(loop: asyncio.AbstractEventLoop, selector: selectors.BaseSelector) -> None:
    """Detach a forked child from the parent's event loop, of which it has a copy without the thread.

    Both share one epoll instance, and closing a connection in the child would remove the parent's connection from it;
    so the child gets its own instance in its place.
    """
    _started.cache_clear()
    # The child must never close the parent's connections, so asyncio must not warn about that.
    loop.set_exception_handler(lambda *_: None)
    if isinstance(selector, selectors.EpollSelector):
        with select.epoll() as another:
            os.dup2(another.fileno(), selector.fileno(), inheritable=False)


def _wait(coroutine: Coroutine[Any, Any, T]) -> T:
    future = asyncio.run_coroutine_threadsafe(coroutine, _loop())
    try:
        return future.result()
    except BaseException:  # such as Ctrl-C
        future.cancel()
        raise


def _close(client: AsyncClient, process: int) -> None:
    if process == os.getpid():
        future = asyncio.run_coroutine_threadsafe(client.close(), _loop())
        with contextlib.suppress(TimeoutError):
            future.result(CLOSE_SECONDS)
