import pytest

from trainserve.dev.agent.restart import init_policy, next_backoff, should_restart


@pytest.mark.parametrize(
    ("policy", "code", "expected"),
    [
        ("Always", 0, True),
        ("Always", 1, True),
        ("OnFailure", 0, False),
        ("OnFailure", 1, True),
        ("Never", 0, False),
        ("Never", 1, False),
    ],
)
def test_the_restart_policy_decides_who_starts_again(policy: str, code: int, expected: bool) -> None:
    assert should_restart(policy, code) is expected


@pytest.mark.parametrize(
    ("policy", "expected"), [("Always", "OnFailure"), ("OnFailure", "OnFailure"), ("Never", "Never")]
)
def test_the_success_of_an_init_container_is_final(policy: str, expected: str) -> None:
    assert init_policy(policy) == expected


def test_the_first_restart_is_immediate_and_then_the_delay_doubles_up_to_five_minutes() -> None:
    delays, delay = [], None
    for _ in range(8):
        delay = next_backoff(delay, ran_seconds=1.0)
        delays.append(delay)
    assert delays == [0, 10, 20, 40, 80, 160, 300, 300]


def test_a_container_that_ran_for_ten_minutes_starts_over_with_no_delay() -> None:
    assert next_backoff(160.0, ran_seconds=601.0) == 0.0
