"""Liveness: a model counts as alive until an answer says otherwise, whether or not a caller still waits for it."""

from __future__ import annotations

import threading

import pytest

from tests.serving.serving import wait_until
from trainserve.serving.pod import pulse
from trainserve.serving.pod.pulse import Pulse, Verdict


class Asked:
    """A check that answers only when the test releases it."""

    def __init__(self) -> None:
        self.times, self.released = 0, threading.Event()
        self.verdict: Verdict = (True, "ok")

    def __call__(self) -> Verdict:
        self.times += 1
        assert self.released.wait(30)
        return self.verdict


def test_one_question_is_under_way_at_a_time_and_nobody_waits_longer_than_they_say() -> None:
    asked = Asked()
    felt = Pulse(asked)
    for _ in range(3):
        alive, words = felt.feel(0.0)
        assert alive
        assert words.endswith("has not answered yet")
    assert asked.times == 1
    asked.released.set()
    assert felt.feel(30.0) == (True, "ok")


def test_a_death_that_nobody_waited_for_is_told_to_who_asks_next() -> None:
    asked = Asked()
    asked.verdict = (False, "dead")
    felt = Pulse(asked)
    assert felt.feel(0.0)[0]
    asked.released.set()
    wait_until(lambda: felt.feel(0.0) == (False, "dead"))
    assert asked.times == 1
    assert felt.feel(30.0) == (False, "dead"), "it is asked anew at once"
    assert asked.times == 2


def test_a_slow_one_has_a_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "SLOW", 0.0)
    monkeypatch.setattr(pulse, "REST", 1e9)
    asked = Asked()
    asked.released.set()
    felt = Pulse(asked)
    assert [felt.feel(30.0) for _ in range(3)] == [(True, "ok")] * 3
    assert asked.times == 1


def test_who_was_dead_when_last_asked_is_so_until_it_answers_or_another_takes_its_place() -> None:
    asked = Asked()
    asked.verdict = (False, "dead")
    asked.released.set()
    felt = Pulse(asked)
    assert felt.feel(30.0) == (False, "dead")
    asked.released.clear()
    wait_until(lambda: felt.feel(0.0) == (False, "dead") and asked.times == 2)
    assert felt.feel(0.0) == (False, "dead"), "the second question is under way"
    felt.forget()
    assert felt.feel(0.0)[0]
    asked.released.set()
