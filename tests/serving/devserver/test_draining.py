"""A pod that ends: its connections move to another pod before it stops, and no client sees an error.

Two servers behind a Service: new connections go to the server that stays, established ones remain where they are.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from tests.serving.serving import DIGIT, wait_until
from tests.serving.versions import images
from trainserve.client import Client
from trainserve.operator.modelserve.pod import client_flags
from trainserve.serving.devserver.server import DevelopmentServer

AGE_SECONDS = 0.5
BODY = json.dumps({"inputs": [DIGIT]}).encode()


class Service:
    """A port that balances connections, not requests: each new connection is forwarded to `target`."""

    def __init__(self, target: str) -> None:
        self.target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the socket was closed
            while True:
                client, _ = self._listening.accept()
                host, _, port = self.target.rpartition(":")
                pod = socket.create_connection((host, int(port)))
                for one, other in ((client, pod), (pod, client)):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listening.close()


@contextlib.contextmanager
def callers(*asks: Callable[[], Callable[[], object]]) -> Iterator[Counter[str]]:
    """Run a thread per entry of `asks` that sends requests without retries; yield a counter of the outcomes.

    An outcome is "ok" or the error's text. Each entry opens its own connection and returns a function that sends one
    request over it.
    """
    seen: Counter[str] = Counter()
    stop = threading.Event()

    def run(connect: Callable[[], Callable[[], object]]) -> None:
        ask = connect()
        while not stop.is_set():
            try:
                ask()
                seen["ok"] += 1
            except Exception as error:
                seen[f"{type(error).__name__}: {error}"] += 1
                ask = connect()

    threads = [threading.Thread(target=run, args=(each,)) for each in asks]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.fixture
def pair(start: Callable[..., DevelopmentServer]) -> list[DevelopmentServer]:
    """Two servers configured as in pods, except that their connections age sooner."""
    flags = [flag for flag in client_flags("tritonserver") if not flag.startswith("--grpc-max-connection-age=")]
    flags = [flag.replace("$(POD_UID)", "uid") for flag in flags]
    age = f"--grpc-max-connection-age={AGE_SECONDS * 1000:.0f}"
    return [start(None, "--model-control-mode=none", age, *flags) for _ in range(2)]


def roll(pair: list[DevelopmentServer], services: dict[Service, Callable[[DevelopmentServer], str]]) -> None:
    """Take the first server out of the Services, wait as a pod's preStop hook does, and stop it."""
    for service, address in services.items():
        service.target = address(pair[1])
    time.sleep(2 * AGE_SECONDS)  # the connection's age plus 10 % jitter, and the requests in flight
    pair[0].stop()


def test_kept_connections_move_to_another_pod_before_theirs_ends(pair: list[DevelopmentServer]) -> None:
    services = {Service(pair[0].url): lambda s: s.url, Service(pair[0].grpc_url): lambda s: s.grpc_url}
    over_http, over_grpc = services
    given = triton.InferInput("images", [1, 28, 28, 1], "UINT8")
    given.set_data_from_numpy(images(1))

    def grpc() -> Callable[[], object]:
        channel = [("grpc.use_local_subchannel_pool", 1)]
        client = triton.InferenceServerClient(over_grpc.address, channel_args=channel)
        return lambda: client.infer("digits", [given])

    def kept() -> Callable[[], object]:
        connection = http.client.HTTPConnection(over_http.address, timeout=30)

        def ask() -> None:
            connection.request("POST", "/v2/models/digits/infer", BODY, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == http.client.OK, answer.status

        return ask

    with callers(grpc, grpc, grpc) as grpcs, callers(kept, kept, kept) as https:
        wait_until(lambda: min(grpcs["ok"], https["ok"]) > 100)
        roll(pair, services)
        before = grpcs["ok"], https["ok"]
        wait_until(lambda: grpcs["ok"] > before[0] + 100 and https["ok"] > before[1] + 100)
    for service in services:
        service.close()
    assert (list(grpcs), list(https)) == (["ok"], ["ok"])


def test_our_client_opens_a_new_connection_where_its_replica_ends(start: Callable[..., DevelopmentServer]) -> None:
    pair = [start(), start()]  # connections of these servers do not age
    service = Service(pair[0].grpc_url)

    def connect() -> Callable[[], object]:
        client = Client(f"grpc://{service.address}")
        model = client.model("digits")
        return lambda: client.infer(model, {"images": images(1)})

    with callers(connect, connect) as seen:
        wait_until(lambda: seen["ok"] > 50)
        roll(pair, {service: lambda s: s.grpc_url})
        before = seen["ok"]
        wait_until(lambda: seen["ok"] > before + 50)
    service.close()
    assert list(seen) == ["ok"]


def test_endpoints_that_no_client_needs_are_closed_to_clients(pair: list[DevelopmentServer]) -> None:
    connection = http.client.HTTPConnection(pair[0].url)
    for path in ("systemsharedmemory/status", "cudasharedmemory/status", "trace/setting", "logging"):
        connection.request("GET", f"/v2/{path}")
        answer = connection.getresponse()
        assert (answer.status, b"restricted" in answer.read()) == (http.client.FORBIDDEN, True), path
    for verb in ("load", "unload"):
        connection.request("POST", f"/v2/repository/models/digits/{verb}", b"{}", {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert (answer.status != http.client.OK, b"not allowed" in answer.read()) == (True, True), verb
    client = triton.InferenceServerClient(pair[0].grpc_url)
    for ask in (client.get_system_shared_memory_status, client.get_trace_settings, client.get_log_settings):
        with pytest.raises(InferenceServerException, match="restricted"):
            ask()
    assert client.is_model_ready("digits")
