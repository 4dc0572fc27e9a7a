"""Conditions follow Kubernetes' conventions."""

from __future__ import annotations

from tests.operator.support import NOW, after, at
from trainserve.operator.conditions import MAX_MESSAGE, Condition, find, is_true, merge


def test_the_transition_time_moves_only_when_the_status_changes() -> None:
    first = merge(None, [Condition("Ready", "False", "Pending", "soon")], 1, NOW)
    second = merge(first, [Condition("Ready", "False", "Crash", "again")], 2, after(5))
    third = merge(second, [Condition("Ready", "True", "Serving", "1 of 1")], 2, after(9))
    assert [conditions[0]["lastTransitionTime"] for conditions in (first, second, third)] == [at(0), at(0), at(9)]
    assert (second[0]["reason"], second[0]["observedGeneration"]) == ("Crash", 2)


def test_conditions_that_nobody_observed_stay_where_they_are() -> None:
    before = merge(None, [Condition("A", "True", "R", "m"), Condition("B", "True", "R", "m")], 1, NOW)
    now = merge(before, [Condition("C", "True", "R", "m"), Condition("B", "False", "R", "m")], 1, after(1))
    assert [condition["type"] for condition in now] == ["A", "B", "C"]
    assert now[0] == before[0]
    assert before[1]["status"] == "True"


def test_merging_the_same_again_changes_nothing() -> None:
    observed = [Condition("A", "Unknown", "R", "m")]
    once = merge(None, observed, 1, NOW)
    assert merge(once, observed, 1, after(100)) == once


def test_a_message_has_an_end() -> None:
    (long,) = merge(None, [Condition("A", "True", "R", "x" * 10_000)], 1, NOW)
    assert len(long["message"]) == MAX_MESSAGE


def test_a_missing_condition_does_not_hold() -> None:
    assert find(None, "A") is None
    assert not is_true([], "A")


def test_a_long_message_keeps_its_end_where_the_cause_stands() -> None:
    said = "Traceback: " + "x" * 5000 + " no space is left"
    (condition,) = merge([], [Condition("Complete", "False", "UserError", said)], 1, NOW)
    assert len(condition["message"]) == MAX_MESSAGE
    assert condition["message"].startswith("Traceback: x")
    assert condition["message"].endswith("x no space is left")
