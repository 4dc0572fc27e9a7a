import pytest

from trainserve.dev.agent.probes import Belief, judge, named_port


@pytest.mark.parametrize(
    ("healthy", "results", "expected"),
    [
        (True, "f", True),
        (True, "ff", True),
        (True, "fff", False),
        (True, "ffsff", True),
        (True, "ffsfff", False),
        (False, "s", False),
        (False, "ss", True),
        (False, "sfs", False),
        (True, "fffs", False),
        (True, "fffss", True),
    ],
)
def test_a_belief_changes_after_as_many_results_in_a_row_as_its_threshold(
    healthy: bool, results: str, expected: bool
) -> None:
    belief = Belief(healthy)
    for result in results:
        belief = judge(belief, result == "s", {"failureThreshold": 3, "successThreshold": 2})
    assert belief.healthy is expected


def test_thresholds_default_to_one_success_and_three_failures() -> None:
    assert judge(Belief(False), True, {}).healthy
    assert judge(Belief(True, last=False, run=1), False, {}).healthy
    assert not judge(Belief(True, last=False, run=2), False, {}).healthy


def test_a_port_is_found_by_number_or_name() -> None:
    container = {"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}
    assert [named_port(container, 1), named_port(container, "2"), named_port(container, "http")] == [1, 2, 8080]
    with pytest.raises(OSError, match="container c has no port named 'grpc'"):
        named_port(container, "grpc")
