"""Leader election: at most one replica acts, and one takes over quickly."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest

from trainserve.operator import lease as module
from trainserve.operator.lease import Lease, LeaseLost


class Api:
    """A Lease in memory, with the API server's optimistic concurrency."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.away = False
        self.error: Exception = ConnectionError("the API server is away")

    async def get_lease(self, namespace: str, name: str) -> dict[str, Any] | None:
        if self.away:
            raise self.error
        return None if self.lease is None else {**self.lease, "metadata": dict(self.lease["metadata"])}

    async def put_lease(self, lease: dict[str, Any]) -> bool:
        if self.away:
            raise self.error
        known = self.lease["metadata"]["resourceVersion"] if self.lease else None
        if lease["metadata"].get("resourceVersion") != known:
            return False
        metadata = lease["metadata"] | {"resourceVersion": str(int(known or 0) + 1)}
        self.lease = {**lease, "metadata": metadata}
        return True

    def holder(self) -> str:
        assert self.lease is not None
        return str(self.lease["spec"]["holderIdentity"])


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"RETRY_EVERY": 0.01, "RENEW_EVERY": 0.01, "RENEW_DEADLINE": 0.2, "DURATION": 0.4}.items():
        monkeypatch.setattr(module, name, seconds)


async def within(seconds: float, event: asyncio.Event) -> None:
    async with asyncio.timeout(seconds):
        await event.wait()


async def test_the_second_replica_waits_until_the_first_one_lets_go() -> None:
    api = Api()
    first, second = Lease(api, "system", "host_a_1"), Lease(api, "system", "host_b_1")
    one = asyncio.create_task(first.run())
    await within(30, first.held)
    two = asyncio.create_task(second.run())
    with pytest.raises(TimeoutError):
        await within(0.6, second.held)
    one.cancel()
    await first.release()
    await within(30, second.held)
    assert api.holder() == "host_b_1"
    two.cancel()


async def test_a_holder_that_died_elsewhere_is_succeeded_when_its_lease_runs_out() -> None:
    api = Api()
    first, second = Lease(api, "system", "host_a_1"), Lease(api, "system", "host_b_1")
    one = asyncio.create_task(first.run())
    await within(30, first.held)
    one.cancel()
    two = asyncio.create_task(second.run())
    await within(30, second.held)
    assert api.holder() == "host_b_1"
    two.cancel()


async def test_a_holder_that_died_on_this_host_is_succeeded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DURATION", 3600.0)
    api = Api()
    gone = Lease(api, "system", f"{socket.gethostname()}_4194305")  # above the largest process id of Linux
    one = asyncio.create_task(gone.run())
    await within(30, gone.held)
    one.cancel()
    second = Lease(api, "system")
    two = asyncio.create_task(second.run())
    await within(30, second.held)
    two.cancel()


async def test_an_outage_stops_the_holder_and_its_end_lets_it_go_on() -> None:
    api = Api()
    lease = Lease(api, "system", "host_a_1")
    task = asyncio.create_task(lease.run())
    await within(30, lease.held)
    api.away = True
    await within(30, lease.lost)
    assert not lease.held.is_set()
    api.away = False
    await within(30, lease.held)
    task.cancel()


async def test_a_lease_taken_by_another_ends_the_holder() -> None:
    api = Api()
    lease = Lease(api, "system", "host_a_1")
    task = asyncio.create_task(lease.run())
    await within(30, lease.held)
    assert api.lease is not None
    taken = {**api.lease["spec"], "holderIdentity": "host_b_1"}
    api.lease = {"metadata": {"name": "n", "namespace": "system", "resourceVersion": "99"}, "spec": taken}
    with pytest.raises(LeaseLost, match="taken from host_a_1"):
        async with asyncio.timeout(30):
            await task
    assert not lease.held.is_set()


async def test_a_holder_that_was_stopped_may_not_write_when_it_wakes_before_any_task_of_it_has_run() -> None:
    api = Api()
    lease = Lease(api, "system", "host_a_1")
    task = asyncio.create_task(lease.run())
    await within(30, lease.held)
    assert lease.is_current()
    time.sleep(0.3)  # noqa: ASYNC251 - as SIGSTOP does: no task of the process runs
    assert not lease.is_current()
    assert lease.held.is_set(), "nobody has told it yet"
    task.cancel()


async def test_a_lease_that_another_had_meanwhile_and_let_go_ends_the_holder() -> None:
    api = Api()
    lease = Lease(api, "system", "host_a_1")
    task = asyncio.create_task(lease.run())
    await within(30, lease.held)
    assert api.lease is not None
    let_go = {**api.lease["spec"], "holderIdentity": ""}
    api.lease = {"metadata": {"name": "n", "namespace": "system", "resourceVersion": "99"}, "spec": let_go}
    with pytest.raises(LeaseLost):
        async with asyncio.timeout(30):
            await task


async def test_an_error_without_text_is_logged_by_its_class(caplog: pytest.LogCaptureFixture) -> None:
    api = Api()
    api.away, api.error = True, TimeoutError()
    lease = Lease(api, "system", "host_a_1")
    running = asyncio.create_task(lease.run())
    async with asyncio.timeout(30):
        while not caplog.messages:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    running.cancel()
    assert caplog.messages == ["lease system/trainserve-operator: TimeoutError"]
