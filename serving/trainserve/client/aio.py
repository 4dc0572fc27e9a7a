"""The client for asyncio; the other one (sync.py) is this one, run in a thread of its own."""

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
"""How long what a DNS name resolved to is taken as current."""
KNOWN_SECONDS = 60.0
"""How long `predict` goes by what a model said of itself: a ModelServe moves to new versions under the same name."""
IN_FLIGHT = 4
"""Batches of one `predict` that are asked at once: enough to keep a replica or two busy, few enough to be polite."""


class Transport(Interface):
    """What http.py and grpc.py do. Every method raises RequestFailed; `seconds` is the time left, for the server."""

    async def index(self, address: Address, seconds: float) -> list[dict[str, Any]]: ...  # noqa: D102
    async def metadata(self, address: Address, model: str, seconds: float) -> dict[str, Any]: ...  # noqa: D102
    async def config(self, address: Address, model: str, seconds: float) -> dict[str, Any]: ...  # noqa: D102
    async def infer(  # noqa: D102
        self, address: Address, model: ModelInfo, inputs: Mapping[str, Array], wanted: list[Wanted], seconds: float
    ) -> dict[str, Array]: ...
    def forget(self, address: Address) -> None: ...  # noqa: D102
    async def close(self) -> None: ...  # noqa: D102


class AsyncClient:
    """Asks the replicas of one service, for any number of tasks of one event loop at once.

    `addresses` are `host:port`, `http://host:port`, `grpc://host:port`, or over TLS `https://host` and `grpcs://host`
    (addresses.py), one or several; of a name that resolves to several addresses each is a replica. `timeout` in
    seconds is the deadline of a whole call, retries and waits between them included; a call asks at most 1 + `retries`
    times (retry.py says what is asked again, replicas.py whom). Every method raises BadInput before anything is sent,
    and RequestFailed: Unavailable, DeadlineExceeded, Refused or ServerFault.
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
        """Itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        if self._resolution is not None:
            self._resolution.cancel()
        if self._transport is not None:
            await self._transport.close()

    async def models(self) -> list[str]:
        """Names of the models that are ready."""
        async with self._call() as call:
            index = await call.ask(self._ready().index)
            return sorted({entry["name"] for entry in index if entry.get("state") == "READY"})

    async def model(self, name: str) -> ModelInfo:
        """A served model's inputs and outputs."""
        async with self._call() as call:
            return await self._model(call, name)

    async def infer(self, model: ModelInfo, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs for one batch of at most `model.max_batch` rows."""
        async with self._call() as call:
            return await self._infer(call, model, inputs, [Wanted(output.name) for output in model.outputs])

    async def labels(self, model: ModelInfo, output: TensorInfo, inputs: Mapping[str, Array]) -> list[str]:
        """The labels of an output's classes; a class without one is called by its index.

        By Triton's classification extension, the one way any server tells them: it asks for all classes of the
        first row of `inputs` (github.com/triton-inference-server/server, docs/protocol/extension_classification.md).
        Of a graph without batch axis the extension takes all rows for one, so that it has indices only.
        """
        async with self._call() as call:
            return await self._labels(call, model, output, inputs)

    async def predict(self, name: str, inputs: Array | Mapping[str, Array]) -> Predictions:
        """The class probabilities that a model gives for any number of rows, in batches of the size it takes.

        `inputs`: (n, …) by input name; an array alone is that of a model's only input.
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
        """One call with its deadline, for which the replicas are known."""
        call = Call(self._replicas, self.retries, asyncio.get_running_loop().time() + self.timeout)
        try:
            async with asyncio.timeout_at(call.deadline):
                await self._resolve()
                yield call
        except TimeoutError as error:
            raise call.late(self.timeout) from error

    def _ready(self) -> Transport:
        if self._transport is None:
            # Each brings libraries that take 0.1 s to import.
            if self.protocol == "grpc":
                from trainserve.client.grpc import GrpcTransport

                self._transport = GrpcTransport()
            else:
                from trainserve.client.http import HttpTransport

                self._transport = HttpTransport()
        return self._transport

    async def _resolve(self) -> None:
        """Waits for the first resolution; the later ones go on beside the calls that start them."""
        if time.monotonic() - self._resolved > RESOLVE_SECONDS and (not self._resolution or self._resolution.done()):
            self._resolution = asyncio.create_task(self._resolve_now())
            # Whoever waits for it may have reached a deadline before; asyncio would complain of the error on stderr.
            self._resolution.add_done_callback(lambda task: task.cancelled() or task.exception())
        if not self._replicas:
            assert self._resolution is not None
            await asyncio.shield(self._resolution)

    async def _resolve_now(self) -> None:
        try:
            found = [address for target in self._targets for address in await target.resolve()]
        except OSError as error:
            if self._replicas:
                return  # a name server that is away takes no replica with it
            raise Unavailable(f"{self.url}: {error.strerror or error}") from error
        self._resolved = time.monotonic()
        for address in self._replicas.update(found):
            self._ready().forget(address)


def _tensor(described: Mapping[str, Any]) -> TensorInfo:
    dtype = TYPES.get(described["datatype"])
    if dtype is None:
        raise BadInput(f"tensor {described['name']}: datatype {described['datatype']} is not one of {', '.join(TYPES)}")
    return TensorInfo(described["name"], dtype, tuple(int(size) for size in described["shape"]))
