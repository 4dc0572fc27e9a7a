"""Discovery: which version of an API is used on servers of several releases."""

from __future__ import annotations

import asyncio

import pytest

from trainserve.operator import discovery
from trainserve.operator.discovery import Discovery

BUDGETS = "poddisruptionbudgets"
RELEASES = {
    "1.20": {("policy", "v1beta1"): BUDGETS},
    "1.24": {("policy", "v1"): BUDGETS, ("policy", "v1beta1"): BUDGETS},
    "1.33": {("policy", "v1"): BUDGETS},
    # The policy group exists, but with none of the resources that the operator looks for.
    "bare": {("policy", "v1"): "podsecuritypolicies"},
}


class Server:
    """The discovery answers of a server of one release."""

    def __init__(self, release: str) -> None:
        self.release, self.away = release, 0
        self.error: Exception = OSError("connection refused")

    async def served(self, group: str, version: str) -> set[str]:
        if self.away:
            self.away -= 1
            raise self.error
        found = RELEASES[self.release].get((group, version))
        return {found, f"{found}/status"} if found else set()


@pytest.mark.parametrize(("release", "budgets"), [("1.20", "v1beta1"), ("1.24", "v1"), ("1.33", "v1"), ("bare", None)])
async def test_the_best_version_that_the_server_has_is_used(release: str, budgets: str | None) -> None:
    found = Discovery(Server(release).served)
    await found.look()
    assert found.version("PodDisruptionBudget") == budgets


async def test_a_server_that_is_away_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "RETRY", 0.01)
    server = Server("1.20")
    server.away = 3
    found = Discovery(server.served)
    looking = asyncio.create_task(found.run())
    async with asyncio.timeout(30):
        await found.looked.wait()
    looking.cancel()
    assert found.version("PodDisruptionBudget") == "v1beta1"


async def test_an_error_without_text_is_logged_by_its_class(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(discovery, "RETRY", 0.01)
    server = Server("1.33")
    server.away, server.error = 1, TimeoutError()
    found = Discovery(server.served)
    looking = asyncio.create_task(found.run())
    async with asyncio.timeout(30):
        await found.looked.wait()
    looking.cancel()
    assert caplog.messages == ["discovery: TimeoutError; again in a moment"]


async def test_an_upgraded_server_is_noticed() -> None:
    server = Server("1.20")
    found = Discovery(server.served)
    await found.look()
    server.release = "1.33"
    await found.look()
    assert found.version("PodDisruptionBudget") == "v1"
