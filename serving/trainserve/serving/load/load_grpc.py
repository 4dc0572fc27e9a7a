"""Load over gRPC: serialized messages over one channel; answers are not parsed.

gRPC's own thread reports answers; in it the time is taken, and a closed loop's next request is sent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from trainserve.serving.load.record import LoadFailed, Recorder, Sample
from trainserve.serving.load.requests import Prepared, in_turn

CONNECT_SECONDS = 5.0
Send = Callable[[bytes], Any]


@contextmanager
def _channel(address: str, method: str) -> Iterator[Send]:
    import grpc  # type: ignore[import-untyped]

    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(address, options=unlimited) as channel:
        try:
            grpc.channel_ready_future(channel).result(CONNECT_SECONDS)
        except grpc.FutureTimeoutError:
            raise LoadFailed(f"{address}: no gRPC server answers") from None
        yield channel.unary_unary(method).future


def _wrong(call: Any) -> str:
    """Return the error of a finished call, "" if it succeeded."""
    code = call.code()
    return "" if code.value[0] == 0 else f"{code.name}: {call.details()}"


class _InFlight:
    """Unanswered calls by number; `empty` is set while there are none."""

    def __init__(self) -> None:
        self.sent: dict[int, float] = {}
        self.empty = threading.Event()

    def add(self, number: int, sent: float) -> None:
        self.sent[number] = sent
        self.empty.clear()

    def discard(self, number: int) -> None:
        self.sent.pop(number, None)
        if not self.sent:
            self.empty.set()


def closed(address: str, request: Prepared, concurrency: int, seconds: float, patience: float) -> Sample:
    """Run a closed loop (`loops.closed`)."""
    clock, messages, in_flight = time.perf_counter, in_turn(request), _InFlight()
    with _channel(address, request.method) as send:
        record = Recorder(clock(), seconds)

        def begin(caller: int) -> None:
            sent = clock()
            in_flight.add(caller, sent)
            send(next(messages)).add_done_callback(lambda call: finish(caller, sent, call))

        def finish(caller: int, sent: float, call: Any) -> None:
            now = clock()
            if words := _wrong(call):
                record.failed(words)
            else:
                record.answered(sent, now)
            if now < record.end:
                begin(caller)
            else:
                in_flight.discard(caller)

        for caller in range(concurrency):
            begin(caller)
        in_flight.empty.wait(seconds + patience)
        now = clock()
        return record.sample(concurrency, [now - sent for sent in list(in_flight.sent.values())])


def open(
    address: str, request: Prepared, times: Sequence[float], rate: float, seconds: float, patience: float
) -> Sample:
    """Run an open loop (`loops.open`); `times` are in seconds after the start."""
    clock, messages, in_flight = time.perf_counter, in_turn(request), _InFlight()
    with _channel(address, request.method) as send:
        record = Recorder(clock(), seconds)

        def begin(number: int, intended: float) -> None:
            in_flight.add(number, intended)
            send(next(messages)).add_done_callback(lambda call: finish(number, intended, call))

        def finish(number: int, intended: float, call: Any) -> None:
            if words := _wrong(call):
                record.failed(words)
            else:
                record.answered(intended, clock())
            in_flight.discard(number)

        for number, each in enumerate(times):
            intended = record.begun + each
            if (early := intended - clock()) > 0:
                time.sleep(early)
            begin(number, intended)
            record.lags.append(clock() - intended)
        if in_flight.sent:
            in_flight.empty.wait(max(0.0, record.end + patience - clock()))
        now = clock()
        unanswered = [now - intended for intended in list(in_flight.sent.values())]
        return record.sample(max(0, len(times) - record.finished - record.errors), unanswered, rate)
