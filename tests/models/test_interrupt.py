"""SIGTERM: at once, at the next check, or too late."""

import os
import signal
from collections.abc import Iterator

import pytest

from trainserve.models.errors import Interrupted
from trainserve.models.interrupt import Interrupt


@pytest.fixture
def interrupt() -> Iterator[Interrupt]:
    before = signal.getsignal(signal.SIGTERM)
    installed = Interrupt()
    installed.install()
    yield installed
    signal.signal(signal.SIGTERM, before)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_it_is_raised_at_once(interrupt: Interrupt) -> None:
    with pytest.raises(Interrupted, match=r"^SIGTERM: stopped before anything was published$"):
        terminate()


def test_inside_it_waits_for_the_check_at_the_end(interrupt: Interrupt) -> None:
    reached = False
    with pytest.raises(Interrupted), interrupt.at_checks_only():
        terminate()
        reached = True
    assert reached
    assert interrupt.requested


def test_after_an_error_inside_it_does_not_hide_the_error(interrupt: Interrupt) -> None:
    with pytest.raises(ValueError, match="the reason"), interrupt.at_checks_only():
        raise ValueError("the reason")
    terminate()
    assert interrupt.requested


def test_held_it_waits_for_the_release(interrupt: Interrupt) -> None:
    interrupt.hold()
    terminate()
    with pytest.raises(Interrupted):
        interrupt.release()


def test_once_it_is_too_late_it_is_only_noted(interrupt: Interrupt) -> None:
    interrupt.too_late()
    terminate()
    assert interrupt.requested


def test_sigterm_raises_at_once_outside_of_training() -> None:
    interrupt = Interrupt()
    with pytest.raises(Interrupted):
        interrupt._signalled(15, None)


def test_sigterm_waits_for_a_check_inside_of_training_and_is_not_forgotten() -> None:
    interrupt = Interrupt()
    reached = False
    with pytest.raises(Interrupted), interrupt.at_checks_only():
        interrupt._signalled(15, None)
        reached = True
    assert reached


def test_sigterm_after_publishing_began_is_too_late() -> None:
    interrupt = Interrupt()
    interrupt.too_late()
    interrupt._signalled(15, None)
    assert interrupt.requested
