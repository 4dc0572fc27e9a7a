"""The client for asyncio, which the synchronous client (sync.py) runs in a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self
from typing import Protocol as Interface

import numpy as np

from trainserve.client.addresses import Address, Protocol, parse
from trainserve.client.binary import TYPES, Wanted
from trainserve.client.errors import BadInput, Unavailable
from trainserve.client.model import Array, ModelInfo, Predictions, TensorInfo
from trainserve.client.replicas import Replicas
from trainserve.client.retry import Call

RESOLVE_SECONDS = 10.0
"""How long the addresses of a DNS name are used before it is resolved again."""
KNOWN_SECONDS = 60.0
"""How long `predict` caches a model's metadata: a ModelServe moves to new versions under the same name."""
IN_FLIGHT = 4
"""Concurrent batches of one `predict`: enough for one or two replicas, few enough to leave room for other clients."""


class Transport(Interface):
    """Interface of http.py and grpc.py. Every method raises RequestFailed; `seconds` is the time left of the call."""

    async def index(self, address: Address, seconds: float) -> list[dict[str, Any]]: ...  # noqa: D102
    async def metadata(self, address: Address, model: str, seconds: float) -> dict[str, Any]: ...  # noqa: D102
    async def config(self, address: Address, model: str, seconds: float) -> dict[str, Any]: ...  # noqa: D102
    async def infer(  # noqa: D102
        self, address: Address, model: ModelInfo, inputs: Mapping[str, Array], wanted: list[Wanted], seconds: float
    ) -> dict[str, Array]: ...
    def forget(self, address: Address) -> None: ...  # noqa: D102
    async def close(self) -> None: ...  # noqa: D102


class AsyncClient:
    """Client of the replicas of one service, for any number of concurrent tasks of one event loop.

    `addresses` are one or several of `host:port`, `http://host:port`, `grpc://host:port` or, with TLS, `https://host`
    and `grpcs://host` (addresses.py); each address that a name resolves to is a replica. `timeout`, in seconds, is the
    deadline of a whole call, with its retries and the waits between them. A request is sent at most 1 + `retries` times
    (retry.py says when it is retried, replicas.py on which replica). Every method raises BadInput before anything is
    sent, and RequestFailed: Unavailable, DeadlineExceeded, Refused or ServerFault.
    """

    def __init__(
        self, addresses: str | Sequence[str], protocol: Protocol | None = None, timeout: float = 30.0, retries: int = 3
    ) -> None:
        self._targets, self.protocol = parse(addresses, protocol)
        self.url = ", ".join(map(str, self._targets))
        self.timeout, self.retries = timeout, retries
        self._replicas = Replicas()
        self._transport: Transport | None = None
        self._resolution: asyncio.Task[None] | None = None
        self._resolved = -RESOLVE_SECONDS
        self._asking = asyncio.Lock()
        self._known: dict[str, tuple[float, ModelInfo, tuple[str, ...]]] = {}

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        if self._resolution is not None:
            self._resolution.cancel()
        if self._transport is not None:
            await self._transport.close()

    async def models(self) -> list[str]:
        """List the names of the models that are ready."""
        async with self._call() as call:
            index = await call.ask(self._ready().index)
            return sorted({entry["name"] for entry in index if entry.get("state") == "READY"})

    async def model(self, name: str) -> ModelInfo:
        """Describe a served model: its version, inputs and outputs."""
        async with self._call() as call:
            return await self._model(call, name)

    async def infer(self, model: ModelInfo, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run inference on one batch of at most `model.max_batch` rows; returns all outputs by name."""
        async with self._call() as call:
            return await self._infer(call, model, inputs, [Wanted(output.name) for output in model.outputs])

    async def labels(self, model: ModelInfo, output: TensorInfo, inputs: Mapping[str, Array]) -> list[str]:
        """List the labels of the classes of `output`; the index stands for a class without a label.

        The labels come from Triton's classification extension, the only way to get them from any server: a request for
        all classes of the first row of `inputs`
        (github.com/triton-inference-server/server, docs/protocol/extension_classification.md).
        For a model without a batch axis the extension takes all rows as one, so that only indices are returned.
        """
        async with self._call() as call:
            return await self._labels(call, model, output, inputs)

    async def predict(self, name: str, inputs: Array | Mapping[str, Array]) -> Predictions:
        """Predict the class probabilities of any number of rows, in batches of the size that the model takes.

        `inputs` are arrays of shape (n, …) by input name, or the array of a model's only input.
        """
        async with self._call() as call:
            model, labels = await self._remembered(call, name, inputs)
            batches = list(model.batches(model.named(inputs)))
            scores = model.scores()
            room = asyncio.Semaphore(IN_FLIGHT)

            async def ask(batch: Mapping[str, Array]) -> Array:
                async with room:
                    return (await self._infer(call, model, batch, [Wanted(scores.name)]))[scores.name]

            try:
                async with asyncio.TaskGroup() as group:
                    asked = [group.create_task(ask(batch)) for batch in batches]
            except ExceptionGroup as failed:
                self._known.pop(name, None)
                raise failed.exceptions[0] from None
            return Predictions(labels, np.concatenate([task.result() for task in asked]))

    async def _remembered(
        self, call: Call, name: str, inputs: Array | Mapping[str, Array]
    ) -> tuple[ModelInfo, tuple[str, ...]]:
        async with self._asking:
            asked, model, labels = self._known.get(name, (0.0, None, ()))
            if model is None or time.monotonic() - asked > KNOWN_SECONDS:
                model = await self._model(call, name)
                first = next(model.batches(model.named(inputs)))
                labels = tuple(await self._labels(call, model, model.scores(), first))
                self._known[name] = time.monotonic(), model, labels
            return model, labels

    async def _model(self, call: Call, name: str) -> ModelInfo:
        transport = self._ready()
        found = await call.ask(lambda address, seconds: transport.metadata(address, name, seconds))
        config = await call.ask(lambda address, seconds: transport.config(address, name, seconds))
        return ModelInfo(
            name=found["name"],
            version=found.get("versions", ["1"])[-1],
            max_batch=int(config.get("max_batch_size", 0)),
            inputs=tuple(_tensor(each) for each in found["inputs"]),
            outputs=tuple(_tensor(each) for each in found["outputs"]),
        )

    async def _labels(self, call: Call, model: ModelInfo, output: TensorInfo, inputs: Mapping[str, Array]) -> list[str]:
        labels = [str(index) for index in range(output.shape[-1])]
        if model.max_batch == 0:
            return labels
        first = {name: array[:1] for name, array in inputs.items()}
        answer = await self._infer(call, model, first, [Wanted(output.name, classes=len(labels))])
        for entry in answer[output.name].reshape(-1):
            _, index, *label = entry.decode().split(":", 2)
            labels[int(index)] = label[0] if label else index
        return labels

    async def _infer(
        self, call: Call, model: ModelInfo, inputs: Mapping[str, Array], wanted: list[Wanted]
    ) -> dict[str, Array]:
        inputs = model.fitted(inputs)
        model.check(inputs)
        transport = self._ready()
        return await call.ask(lambda address, seconds: transport.infer(address, model, inputs, wanted, seconds))

    @asynccontextmanager
    async def _call(self) -> AsyncIterator[Call]:
        """Begin a call: set its deadline, and resolve the replicas."""
        call = Call(self._replicas, self.retries, asyncio.get_running_loop().time() + self.timeout)
        try:
            async with asyncio.timeout_at(call.deadline):
                await self._resolve()
                yield call
        except TimeoutError as error:
            raise call.late(self.timeout) from error

    def _ready(self) -> Transport:
        if self._transport is None:
            # Imported here, because the libraries of each take 0.1 s to import.
            if self.protocol == "grpc":
                from trainserve.client.grpc import GrpcTransport

                self._transport = GrpcTransport()
            else:
                from trainserve.client.http import HttpTransport

                self._transport = HttpTransport()
        return self._transport

    async def _resolve(self) -> None:
        """Wait for the first resolution; later ones run concurrently with the calls that start them."""
        if time.monotonic() - self._resolved > RESOLVE_SECONDS and (not self._resolution or self._resolution.done()):
            self._resolution = asyncio.create_task(self._resolve_now())
            # If its caller has reached a deadline before, asyncio would log the error as never retrieved.
            self._resolution.add_done_callback(lambda task: task.cancelled() or task.exception())
        if not self._replicas:
            assert self._resolution is not None
            await asyncio.shield(self._resolution)

    async def _resolve_now(self) -> None:
        try:
            found = [address for target in self._targets for address in await target.resolve()]
        except OSError as error:
            if self._replicas:
                return  # a name server that fails makes no replica unavailable
            raise Unavailable(f"{self.url}: {error.strerror or error}") from error
        self._resolved = time.monotonic()
        for address in self._replicas.update(found):
            self._ready().forget(address)


def _tensor(described: Mapping[str, Any]) -> TensorInfo:
    dtype = TYPES.get(described["datatype"])
    if dtype is None:
        raise BadInput(f"tensor {described['name']}: datatype {described['datatype']} is not one of {', '.join(TYPES)}")
    return TensorInfo(described["name"], dtype, tuple(int(size) for size in described["shape"]))
