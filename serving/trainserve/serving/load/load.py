"""Load on a server, and what every request of it took.

A closed loop keeps a number of callers busy, each sending its next request when it has its answer: what a server can
do at most. An open loop sends at a rate whatever the server does, as users do, and counts a request's latency from
the time it was meant to be sent: a server that stalls is then charged with everybody who came meanwhile, which a
closed loop leaves out (coordinated omission: Tene, "How NOT to Measure Latency",
https://github.com/giltene/wrk2#acknowledging-coordinated-omission).

One thread and requests encoded beforehand, because the load shares the machine with the server more often than not.
"""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from trainserve.serving.protocol import infer

Protocol = Literal["http", "grpc"]
Arrays = Mapping[str, np.ndarray[Any, Any]]
GRPC_METHOD = "/inference.GRPCInferenceService/ModelInfer"
PATIENCE_SECONDS = 10.0
MAX_CONNECTIONS = 256
"""Of an open loop; requests beyond them wait for a free one, and their waiting counts.

Triton hands answers to an HTTP thread through a socket that holds 278 of them and forgets those beyond (measured with
2.51: with one thread and 512 callers, the server counts successes that nobody is sent).
"""


class LoadFailed(Exception):
    """The server is not there, went away, or speaks something else; the message names its address."""


@dataclass(frozen=True)
class Prepared:
    """Requests as they go over the wire, sent in turn: whole HTTP requests, or serialized gRPC messages of `method`."""

    protocol: Protocol
    messages: tuple[bytes, ...]
    method: str = GRPC_METHOD

    @classmethod
    def http(cls, path: str, bodies: Sequence[bytes], headers: Mapping[str, str]) -> Prepared:
        """POSTs of `bodies` to `path`."""
        lines = [f"POST {path} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in headers.items())]
        head = "\r\n".join(lines)
        return cls("http", tuple(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies))

    @classmethod
    def inferences(
        cls, protocol: Protocol, model: str, rows: Sequence[Arrays], outputs: Sequence[str], version: str = ""
    ) -> Prepared:
        """One inference request for each of `rows`, tensors as bytes: HTTP's binary form, or gRPC's raw contents."""
        if protocol == "grpc":
            return cls("grpc", tuple(_grpc_message(model, version, row, outputs) for row in rows))
        path = f"/v2/models/{model}{f'/versions/{version}' if version else ''}/infer"
        encoded = [infer.encode(row, list(outputs)) for row in rows]
        lengths = {header for header, _ in encoded}
        if len(lengths) > 1:
            raise ValueError(f"rows of one load must have one shape; JSON headers of {sorted(lengths)} bytes")
        headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(lengths.pop())}
        return cls.http(path, [body for _, body in encoded], headers)


@dataclass(frozen=True)
class Sample:
    """What one load saw.

    `latencies_s` has one value for every request that was answered with success, and for those that were not
    answered in the end the time they had waited by then. `seconds` is the time in which requests were sent, `finished`
    how many were answered within it, `waiting` how many were not at its end.
    """

    latencies_s: np.ndarray[Any, np.dtype[np.float64]]
    seconds: float
    finished: int
    waiting: int
    errors: int = 0
    unanswered: int = 0
    first_error: str = ""
    offered: float | None = None
    """Requests per second that an open loop meant to send; None of a closed one."""
    lag_s: float = 0.0
    """Median delay of an open loop's sends for which a connection was free: the load generator's own part."""

    @property
    def rate(self) -> float:
        """Answers with success per second."""
        return self.finished / self.seconds


class Recorder:
    """Collects what becomes a Sample."""

    def __init__(self, begun: float, seconds: float) -> None:
        self.begun, self.end = begun, begun + seconds
        self.latencies: list[float] = []
        self.finished = self.errors = 0
        self.first_error = ""
        self.lags: list[float] = []

    def answered(self, sent: float, now: float) -> None:
        """A request that was (meant to be) sent at `sent` has its answer."""
        self.latencies.append(now - sent)
        if now < self.end:
            self.finished += 1

    def failed(self, words: str) -> None:
        """A request was refused, or its connection broke."""
        self.errors += 1
        self.first_error = self.first_error or words

    def sample(self, waiting: int, unanswered: Sequence[float], offered: float | None = None) -> Sample:
        """`unanswered`: how long those waited that were given up."""
        return Sample(
            latencies_s=np.array([*self.latencies, *unanswered]),
            seconds=self.end - self.begun,
            finished=self.finished,
            waiting=waiting,
            errors=self.errors,
            unanswered=len(unanswered),
            first_error=self.first_error,
            offered=offered,
            lag_s=float(np.median(self.lags)) if self.lags else 0.0,
        )


def closed(
    address: str, request: Prepared, concurrency: int, seconds: float, *, patience: float = PATIENCE_SECONDS
) -> Sample:
    """`concurrency` callers for `seconds`; what is in flight then may take `patience` more. Raises LoadFailed."""
    with _undisturbed():
        if request.protocol == "grpc":
            from trainserve.serving.load import load_grpc

            return load_grpc.closed(address, request, concurrency, seconds, patience)
        from trainserve.serving.load import load_http

        return load_http.closed(address, request, concurrency, seconds, patience)


def open(
    address: str,
    request: Prepared,
    rate: float,
    seconds: float,
    *,
    poisson: bool = True,
    seed: int = 0,
    patience: float = PATIENCE_SECONDS,
) -> Sample:
    """`rate` requests a second for `seconds`, at random times (Poisson) or evenly spaced. Raises LoadFailed."""
    times = arrivals(rate, seconds, np.random.default_rng(seed) if poisson else None)
    with _undisturbed():
        if request.protocol == "grpc":
            from trainserve.serving.load import load_grpc

            return load_grpc.open(address, request, times, rate, seconds, patience)
        from trainserve.serving.load import load_http

        return load_http.open(address, request, times, rate, seconds, patience)


def arrivals(rate: float, seconds: float, generator: np.random.Generator | None) -> list[float]:
    """Seconds after the start at which requests are sent: evenly spaced, or at random where a generator is given."""
    if generator is None:
        return [number / rate for number in range(max(1, round(rate * seconds)))]
    count = max(1, int(generator.poisson(rate * seconds)))
    # Of a Poisson process the times are uniform, given how many there are.
    times: list[float] = np.sort(generator.uniform(0, seconds, count)).tolist()
    return times


def in_turn(request: Prepared) -> Iterator[bytes]:
    """The messages, over and over."""
    return itertools.cycle(request.messages)


def _grpc_message(model: str, version: str, row: Arrays, outputs: Sequence[str]) -> bytes:
    from tritonclient.grpc import service_pb2  # type: ignore[import-untyped]
    from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor  # type: ignore[import-untyped]

    message = service_pb2.ModelInferRequest(model_name=model, model_version=version)
    for name, array in row.items():
        message.inputs.add(name=name, datatype=np_to_triton_dtype(array.dtype), shape=array.shape)
        text = array.dtype.hasobject
        message.raw_input_contents.append(
            serialize_byte_tensor(array).item() if text else np.ascontiguousarray(array).tobytes()
        )
    for name in outputs:
        message.outputs.add(name=name)
    return bytes(message.SerializeToString())


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Without the garbage collector, whose pauses would be taken for the server's."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
