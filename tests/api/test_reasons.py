"""Every reason has one sentence and one retry rule, and operator and pods take them from the table."""

from __future__ import annotations

import pytest

from trainserve.api.reasons import OF_ATTEMPTS, By, Reason, Retry, retry_after, said_by
from trainserve.models import errors


def test_each_reason_has_one_sentence_that_ends() -> None:
    for reason in Reason:
        assert reason.sentence[0].isupper() and reason.sentence.endswith("."), reason
        assert "\n" not in reason.sentence
    assert len({reason.sentence for reason in Reason}) == len(Reason)


def test_a_training_pod_has_an_exit_code_for_each_reason_that_it_says() -> None:
    assert all(reason.exit_code for reason in said_by(By.RUN))
    classes = [value for value in vars(errors).values() if isinstance(value, type) and hasattr(value, "reason")]
    assert {cls.reason for cls in classes} == said_by(By.RUN)


@pytest.mark.parametrize(
    ("reason", "rule"),
    [
        ("ConfigError", Retry.NEVER),
        ("GateNotMet", Retry.NEVER),
        ("ScriptError", Retry.COUNTED),
        ("UserError", Retry.COUNTED),
        ("Preempted", Retry.FREE),
        ("Interrupted", Retry.FREE),
        ("CacheFull", Retry.COUNTED),
        ("what a later release says", Retry.COUNTED),
        (None, Retry.COUNTED),
    ],
)
def test_a_reason_that_no_attempt_ends_with_is_counted(reason: str | None, rule: Retry) -> None:
    assert retry_after(reason) is rule


def test_what_the_cluster_did_no_run_may_say_of_itself() -> None:
    free = {reason for reason in OF_ATTEMPTS if reason.retry is Retry.FREE}
    believed = {Reason.INTERRUPTED, Reason.PORT_TAKEN}
    assert free & said_by(By.RUN) == believed, "of a pod that was told to stop, and of the very port that it was given"
