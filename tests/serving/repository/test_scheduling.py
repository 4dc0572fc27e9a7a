"""Effects of the batching, queue, priority and rate-limit settings on a running server, read from what it executed."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serving import gated
from tests.serving.gated import Gated
from trainserve.client import Client, Unavailable
from trainserve.serving.devserver.server import DevelopmentServer
from trainserve.serving.repository.repository import server_flags, write

Ask = Callable[[str], AbstractContextManager[Gated]]

ONE_BY_ONE = {"maxBatch": 1}
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"dynamicBatching": {"maxBatch": 4}},
    "patient": {"dynamicBatching": {"maxBatch": 4, "preferredBatchSizes": [3], "maxQueueDelay": "1s"}},
    "full": {"dynamicBatching": ONE_BY_ONE | {"queue": {"size": 3}}, "priorities": {"levels": 2}},
    "late": {"dynamicBatching": ONE_BY_ONE | {"queue": {"timeout": "50ms"}}},
    "cached": {"dynamicBatching": ONE_BY_ONE, "responseCache": True, "instances": 2},
    "limited": {
        "dynamicBatching": ONE_BY_ONE,
        "instances": 2,
        "rateLimiter": {"resources": {"slot": 1}, "priority": 4},
    },
    "rival": {"dynamicBatching": ONE_BY_ONE, "rateLimiter": {"resources": {"slot": 1}}},
}


@pytest.fixture(scope="module")
def ask(command: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """One server of all these models; to query one: `with ask(name) as model`."""
    folder = tmp_path_factory.mktemp("scheduling")
    entries = {name: gated.entry(folder / name, name, **settings) for name, settings in SETTINGS.items()}
    write(list(entries.values()), folder / "models")
    flags = server_flags([entry.settings for entry in entries.values()])
    server = DevelopmentServer(command, folder / "models", folder / "log", "--disable-auto-complete-config", *flags)
    server.start()
    yield lambda name: gated.asking(server, entries[name])
    server.kill()


def test_no_batch_is_larger_than_max_batch(ask: Ask) -> None:
    with ask("plain") as model:
        model.ask(0)
        model.wait_for_executions(1)
        for number in range(1, 9):
            model.ask(number)
            model.wait_for_pending(number)
        model.open()
        model.wait_for_executions(3)
        assert model.journal() == [[0], [1, 2, 3, 4], [5, 6, 7, 8]]


def test_requests_wait_for_company_up_to_a_preferred_size(ask: Ask) -> None:
    with ask("patient") as model:
        answers = []
        for number in range(3):
            answers.append(model.ask(number))
            if number < 2:
                model.wait_for_pending(number + 1)
        model.open()
        assert max(answer.result()[2] for answer in answers) < 1, "or they waited the delay out"
        assert model.journal() == [[0, 1, 2]]


def test_a_request_that_finds_its_queue_full_is_refused_at_once_with_503(ask: Ask) -> None:
    with ask("full") as model:
        accepted = [model.ask(0)]
        model.wait_for_executions(1)
        for number in range(1, 4):
            accepted.append(model.ask(number))
            model.wait_for_pending(number)
        refused = [model.ask(number).result(timeout=gated.DEADLINE) for number in range(4, 9)]
        assert {(status, "Exceeds maximum queue size" in body) for status, body, _ in refused} == {(503, True)}
        with (
            Client(model.server.grpc_url, "grpc", retries=0) as client,
            pytest.raises(Unavailable, match="maximum queue"),
        ):
            client.infer(client.model("full"), {"number": np.array([[9]])})
        model.open()
        assert [answer.result()[0] for answer in accepted] == [200] * 4
        assert model.ask(9).result()[0] == 200, "and the next one is served again"


def test_an_urgent_request_overtakes_and_has_a_queue_of_its_own(ask: Ask) -> None:
    with ask("full") as model:
        model.ask(0)
        model.wait_for_executions(1)
        for number in range(1, 4):
            model.ask(number)
            model.wait_for_pending(number)
        model.ask(9, priority=1)
        model.wait_for_pending(4)
        model.open()
        model.wait_for_executions(5)
        assert model.journal() == [[0], [9], [1], [2], [3]]


def test_a_request_that_waited_too_long_is_refused_with_503_as_soon_as_its_turn_comes(ask: Ask) -> None:
    with ask("late") as model:
        first = model.ask(0)
        model.wait_for_executions(1)
        late = model.ask(1)
        model.wait_for_pending(1)
        waited = time.monotonic() + 0.06
        gated.wait(lambda: time.monotonic() > waited, str)
        model.open()
        assert first.result()[0] == 200
        status, body, _ = late.result()
        assert (status, "Request timeout expired" in body) == (503, True)
        assert model.ask(2).result()[0] == 200
        assert model.journal() == [[0], [2]], "what is refused is not run"
        assert model.metric("nv_inference_request_failure", reason="REJECTED") == 1


def test_overload_is_refused_instead_of_letting_latency_grow(ask: Ask) -> None:
    """Sends four times the server's capacity: no served request waited longer than the timeout."""
    with ask("late") as model:
        before = [model.metric(name) for name in ("nv_inference_exec_count", "nv_inference_queue_duration_us")]
        model.open(seconds=0.02)
        answers = []
        ticking = threading.Event()
        for number in range(100):
            answers.append(model.ask(number))
            ticking.wait(0.005)
        statuses = [answer.result()[0] for answer in answers]
        after = [model.metric(name) for name in ("nv_inference_exec_count", "nv_inference_queue_duration_us")]
        served, queued = (late - early for late, early in zip(after, before, strict=True))
        assert set(statuses) == {200, 503}
        assert statuses.count(200) == served
        assert queued / served < 60_000, "without a timeout the mean would be 750 ms"


def test_a_queue_with_bounds_sleeps_half_a_second_now_and_then_though_somebody_waits(ask: Ask) -> None:
    """A defect of the server since 24.04, described in docs/serving.md: only a new request wakes its batcher."""

    def slept() -> float:
        """Return the seconds from the end of one execution to the start of the next, which was pending all along."""
        with ask("full") as model:
            model.ask(0)
            model.wait_for_executions(1)
            model.ask(1)
            model.wait_for_pending(1)
            model.open()
            gated.wait(lambda: len(model.spans()) == 2, lambda: str(model.spans()))
            (_, ended), (began, _) = model.spans()
            return began - ended

    assert any(slept() > 0.2 for _ in range(40)), "it wakes by itself now: take the warning out of docs/serving.md"


def test_instances_run_at_the_same_time_and_the_cache_answers_what_was_asked_before(ask: Ask) -> None:
    with ask("cached") as model:
        both = [model.ask(number) for number in (1, 2)]
        model.wait_for_executions(2)
        model.open()
        first = [answer.result()[1] for answer in both]
        assert [model.ask(number).result()[1] for number in (1, 2)] == first
        gated.wait(lambda: model.metric("nv_cache_num_hits_per_model") == 2, str)
        assert len(model.journal()) == 2


def test_what_a_resource_allows_runs_at_once_and_nothing_more(ask: Ask) -> None:
    """Two instances of one model and one of another share one slot."""
    with ask("limited") as model, ask("rival") as rival:
        answers = [model.ask(0), model.ask(1), rival.ask(2)]
        gated.wait(lambda: model.pending() + rival.pending() == 2, lambda: f"{model.pending()}, {rival.pending()}")
        model.open()
        rival.open()
        assert [answer.result()[0] for answer in answers] == [200, 200, 200]
        spans = sorted([*model.spans(), *rival.spans()])
        assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(spans))


def test_of_those_who_wait_the_favoured_one_runs_more_often(ask: Ask) -> None:
    """Priority 4 against 1: after one execution of the former, the other is due seven times before it."""
    with ask("limited") as model, ask("rival") as rival:
        model.ask(0)
        model.wait_for_executions(1)
        for number in range(1, 9):
            model.ask(number)
            rival.ask(number)
        model.wait_for_pending(8)
        rival.wait_for_pending(8)
        model.open()
        rival.open()
        model.wait_for_executions(9)
        rival.wait_for_executions(8)
        began = sorted([(at, "model") for at, _ in model.spans()] + [(at, "rival") for at, _ in rival.spans()])
        assert [name for _, name in began[1:8]] == ["rival"] * 7
