"""The tuner's decisions, against servers whose behaviour is a formula."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import settings as hypotheses
from hypothesis import strategies as st

from tests.serving.simulated import OVERHEAD, REFERENCES, Behaviour, Simulated, named, run
from trainserve.api.triton import DynamicBatching
from trainserve.serving.repository.settings import Settings
from trainserve.serving.tune.choice import ENOUGH, choose, needed, rows
from trainserve.serving.tune.search import (
    BUSY,
    FINALISTS,
    FINALISTS_OF_SLOW,
    STEP_DOWN,
    Bracket,
    affordable,
    promising,
    search,
)
from trainserve.serving.tune.trial import Candidate, Measurement, Objective, Trial

behaviours = st.builds(Behaviour, st.floats(500, 5_000), st.floats(0.1, 5))


def tuned(
    found: dict[str, Behaviour], objective: Objective, seconds: float = 240, noise: float = 0.0, seed: int = 0
) -> list[Measurement]:
    count = len(found) - len(REFERENCES)
    return run(search(named(count), REFERENCES, objective, seconds), Simulated(found, noise, seed))


def everyone(given: list[Behaviour]) -> dict[str, Behaviour]:
    names = [*(each.name for each in named(len(given) - 2)), "defaults", "naive"]
    return dict(zip(names, given, strict=True))


@hypotheses(max_examples=60)
@given(given=st.lists(behaviours, min_size=6, max_size=30), p99=st.floats(20, 200), seed=st.integers(0, 99))
def test_the_choice_holds_the_objective_and_is_as_fast_as_the_best_references(
    given: list[Behaviour], p99: float, seed: int
) -> None:
    found, objective = everyone(given), Objective(p99)
    seen = tuned(found, objective, noise=0.03, seed=seed)
    table = rows([*named(len(given) - 2), *REFERENCES], seen, objective)
    chosen = choose(table)
    assert chosen is not None and chosen.held is not None and chosen.held.load.rate is not None
    # A window of a few objectives cannot tell a queue that grows by a tenth of the time from a stable one.
    assert chosen.held.load.rate <= 1.1 * found[chosen.candidate.name].capacity
    assert chosen.held.p99_upper_ms <= objective.bound_ms
    for row in table:
        if row.candidate.role == "defaults" and row.held is not None and row.held.holds:
            assert chosen.held.load.rate >= 0.96 * (row.held.load.rate or 0)


@hypotheses(max_examples=60)
@given(given=st.lists(behaviours, min_size=6, max_size=14), seed=st.integers(0, 99))
def test_the_choice_is_near_the_best_of_all_that_were_tried(given: list[Behaviour], seed: int) -> None:
    # The same latency for all: the closed loop's estimate then equals what the open loop sustains.
    found = everyone([Behaviour(each.capacity, 1.0) for each in given])
    objective = Objective(40.0)
    seen = tuned(found, objective, noise=0.03, seed=seed)
    chosen = choose(rows([*named(len(given) - 2), *REFERENCES], seen, objective))
    assert chosen is not None and chosen.held is not None
    best = max(each.sustained(objective.bound_ms) for name, each in found.items() if name != "naive")
    # The plan allows at most BUSY, bisection ends within an eighth, and a confirmation may cost one step.
    assert (chosen.held.load.rate or 0) >= best * STEP_DOWN * BUSY


@hypotheses(max_examples=40)
@given(
    given=st.lists(behaviours, min_size=6, max_size=80),
    p99=st.floats(1, 500),
    minutes=st.floats(1, 10),
    seed=st.integers(0, 99),
)
def test_the_time_is_kept_and_the_references_are_always_in_the_table(
    given: list[Behaviour], p99: float, minutes: float, seed: int
) -> None:
    found, objective = everyone(given), Objective(p99)
    seen = tuned(found, objective, minutes * 60, noise=0.05, seed=seed)
    assert sum(each.cost_s for each in seen) <= minutes * 60 * 1.5
    table = rows([*named(len(given) - 2), *REFERENCES], seen, objective)
    references = [row for row in table if row.candidate.role != "candidate"]
    assert [row.candidate.name for row in references] == ["defaults", "naive"]
    assert all(row.closed is not None and row.held is not None for row in references)


@hypotheses(max_examples=40)
@given(given=st.lists(behaviours, min_size=6, max_size=20), share=st.floats(0.01, 0.9))
def test_where_nothing_holds_a_feasible_objective_is_told(given: list[Behaviour], share: float) -> None:
    found = everyone(given)
    objective = Objective(3 * min(each.alone_ms for each in given) * share)
    seen = tuned(found, objective)
    table = rows([*named(len(given) - 2), *REFERENCES], seen, objective)
    assert choose(table) is None
    lacking = needed(table, seen, objective, None)
    assert lacking is not None and lacking.feasible_p99_ms is not None and lacking.best_p99_ms is not None
    assert lacking.feasible_p99_ms > objective.p99_ms
    assert lacking.best_p99_ms <= lacking.feasible_p99_ms * (1 - objective.margin) * 1.000001
    assert lacking.best_p99_ms == min(each.p99_ms for each in seen if each.p99_ms is not None)


def test_a_rate_that_one_replica_cannot_hold_is_told_in_replicas() -> None:
    found = everyone([Behaviour(1000, 1.0)] * 6)
    objective = Objective(40.0, rate=3000)
    seen = tuned(found, objective)
    table = rows([*named(4), *REFERENCES], seen, objective)
    chosen = choose(table)
    lacking = needed(table, seen, objective, chosen)
    assert chosen is not None and chosen.held is not None and lacking is not None
    held = chosen.held.load.rate
    assert held is not None and lacking.replicas == math.ceil(3000 / held) >= 4
    assert not [each for each in seen if each.trial.stage == "asked"]


def test_a_rate_below_what_is_held_is_measured_with_the_choice() -> None:
    found = everyone([Behaviour(1000, 1.0)] * 6)
    objective = Objective(40.0, rate=100)
    seen = tuned(found, objective)
    table = rows([*named(4), *REFERENCES], seen, objective)
    chosen = choose(table)
    asked = [each for each in seen if each.trial.stage == "asked"]
    assert chosen is not None and needed(table, seen, objective, chosen) is None
    assert {(each.trial.candidate, each.trial.load.rate) for each in asked} == {(chosen.candidate.name, 100)}


def test_with_callers_every_load_is_a_closed_loop_of_these() -> None:
    found = everyone([Behaviour(1000 + 200 * number, 1.0) for number in range(8)])
    seen = tuned(found, Objective(80.0, callers=16))
    assert {(each.trial.load.callers, each.trial.load.rate) for each in seen} == {(16, None)}
    chosen = choose(rows([*named(6), *REFERENCES], seen, Objective(80.0, callers=16)))
    assert chosen is not None and chosen.candidate.name == "defaults"


def test_settings_that_the_server_refuses_are_told_and_not_chosen() -> None:
    found = everyone([Behaviour(1000, 1.0)] * 7)
    simulated = Simulated(found)

    def answer(trial: Trial) -> Measurement:
        if trial.candidate == "c00":
            return Measurement(trial, cost_s=OVERHEAD, failure="failed to load")
        return simulated(trial)

    objective = Objective(40.0)
    seen = run(search(named(5), REFERENCES, objective, 120), answer)
    table = rows([*named(5), *REFERENCES], seen, objective)
    chosen = choose(table)
    assert chosen is not None and chosen.candidate.name != "c00"
    assert table[0].failure == "failed to load" and table[0].held is None


def test_where_nothing_answers_the_search_ends_and_says_so() -> None:
    objective = Objective(40.0)
    seen = run(search(named(5), REFERENCES, objective, 60), lambda trial: Measurement(trial, failure="no"))
    table = rows([*named(5), *REFERENCES], seen, objective)
    lacking = needed(table, seen, objective, choose(table))
    assert lacking is not None and lacking.message == "no candidate answered; see the failures in the table"


def test_candidates_of_a_rung_are_measured_one_after_the_other_under_one_load() -> None:
    found = everyone([Behaviour(1000, 1.0)] * 14)
    halved = [each.trial for each in tuned(found, Objective(40.0)) if each.trial.stage == "halve"]
    first = [trial for trial in halved if trial.load == halved[0].load]
    assert [trial.candidate for trial in first] == [*(each.name for each in named(12)), "defaults", "naive"]
    second = [trial for trial in halved if trial.load.seconds == 2 * halved[0].load.seconds]
    assert len(second) == 6


def test_confirming_rounds_are_interleaved() -> None:
    found = everyone([Behaviour(1000, 1.0)] * 6)
    names = [each.trial.candidate for each in tuned(found, Objective(40.0)) if each.trial.stage == "confirm"]
    assert names[:5] == names[5:10]
    assert len(set(names[:5])) == FINALISTS + 2


def test_one_disturbed_round_does_not_cost_a_candidate_its_rate() -> None:
    found = everyone([Behaviour(1000, 1.0)] * 5)
    simulated = Simulated(found)
    disturbed: list[str] = []

    def answer(trial: Trial) -> Measurement:
        measurement = simulated(trial)
        if trial.stage == "confirm" and trial.candidate not in disturbed:
            disturbed.append(trial.candidate)
            return Measurement(trial, rate=1.0, p50_ms=500, p99_ms=900.0, requests=1000, cost_s=measurement.cost_s)
        return measurement

    objective = Objective(40.0)
    seen = run(search(named(3), REFERENCES, objective, 240), answer)
    confirmed = {each.trial.load.rate for each in seen if each.trial.stage == "confirm"}
    assert len(disturbed) == 5 and len(confirmed) == 1
    assert all(row.held is not None and row.held.holds for row in rows([*named(3), *REFERENCES], seen, objective))


@given(held=st.lists(st.booleans(), min_size=1, max_size=12))
def test_a_bracket_narrows_to_a_rate_that_was_held(held: list[bool]) -> None:
    bracket = Bracket(1000.0)
    tried: list[tuple[float, bool]] = []
    for each in held:
        tried.append((bracket.next, each))
        bracket = bracket.told(each)
        assert bracket.high is None or bracket.low < bracket.high
    rates = [rate for rate, each in tried if each]
    assert bracket.best == pytest.approx(max(rates)) if rates else bracket.best < min(rate for rate, _ in tried)


def test_of_a_slow_model_fewer_are_measured_to_the_end_and_each_longer() -> None:
    found = everyone([Behaviour(30 + number, 30.0) for number in range(14)])
    seen = tuned(found, Objective(1000.0), seconds=150)
    confirmed = [each for each in seen if each.trial.stage == "confirm"]
    assert len({each.trial.candidate for each in confirmed}) == FINALISTS_OF_SLOW + 2
    chosen = choose(rows([*named(12), *REFERENCES], seen, Objective(1000.0)))
    assert chosen is not None
    assert sum(each.requests for each in confirmed if each.trial.candidate == chosen.candidate.name) >= ENOUGH


def test_batches_that_take_longer_than_the_objective_are_tried_last() -> None:
    tried = [Candidate(str(size), Settings(dynamic_batching=DynamicBatching(max_batch=size))) for size in (64, 16, 8)]
    assert [each.name for each in promising(tried, 0.3, Objective(20.0))] == ["64", "16", "8"]
    assert [each.name for each in promising(tried, 5.0, Objective(20.0))] == ["16", "8", "64"]


def test_the_fewer_the_seconds_the_fewer_the_candidates() -> None:
    counts = [affordable(72, FINALISTS, 0.3, 1.0, seconds) for seconds in (5, 20, 60, 200, 1000)]
    assert counts == sorted(counts)
    assert counts[0] == FINALISTS and counts[-1] == 72
