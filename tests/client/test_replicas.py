"""Which replica is queried next: the decisions alone, at simulated times."""

from __future__ import annotations

import pytest

from trainserve.client.addresses import Address
from trainserve.client.replicas import FIRST_REST, LONGEST_REST, Replica, Replicas

A, B, C = (Address("127.0.0.1", port, "localhost") for port in (1, 2, 3))


def replicas(*addresses: Address) -> Replicas:
    made = Replicas()
    made.update(addresses)
    return made


def chosen(among: Replicas, now: float = 0.0, count: int = 1, asked: tuple[Replica, ...] = ()) -> list[Address]:
    return [among.choose(now, asked).address for _ in range(count)]


def test_equals_are_asked_in_turn() -> None:
    assert chosen(replicas(A, B, C), count=7) == [A, B, C, A, B, C, A]


def test_the_one_with_the_fewest_requests_outstanding_is_asked() -> None:
    among = replicas(A, B, C)
    for count in (2, 1, 3):
        among.choose(0).outstanding = count
    assert chosen(among) == [B]


def test_one_that_failed_rests_and_is_asked_again_after_that() -> None:
    among = replicas(A, B)
    among.choose(0).failed(0)
    assert chosen(among, now=FIRST_REST * 0.99, count=3) == [B, B, B]
    assert chosen(among, now=FIRST_REST) == [A]


def test_the_rest_doubles_with_each_failure_up_to_a_bound_and_an_answer_ends_it() -> None:
    replica = Replica(A)
    rests = []
    for _ in range(9):
        replica.failed(100.0)
        rests.append(replica.resting_until - 100.0)
    assert rests == [FIRST_REST * 2**n for n in range(6)] + [LONGEST_REST] * 3
    replica.answered()
    assert replica.usable(100.0)


def test_one_that_has_failed_for_hours_rests_no_longer_than_the_bound() -> None:
    replica = Replica(A, failures=100_000)
    replica.failed(100.0)
    assert replica.resting_until == 100.0 + LONGEST_REST


def test_a_single_request_tries_one_whose_rest_is_over() -> None:
    among = replicas(A, B)
    tried = among.choose(0)
    tried.failed(0)
    tried.outstanding = 1
    among.choose(0).outstanding = 5
    assert chosen(among, now=100) == [B]


def test_when_all_rest_all_are_asked() -> None:
    among = replicas(A, B)
    for _ in range(2):
        among.choose(0).failed(0)
    assert set(chosen(among, count=2)) == {A, B}


def test_a_retry_goes_to_another_even_if_that_one_rests() -> None:
    among = replicas(A, B)
    first = among.choose(0)
    other = among.choose(0)
    other.failed(0)
    assert chosen(among, asked=(first,)) == [B]
    assert chosen(among, asked=(first, other)) == [A]


def test_what_is_known_of_a_replica_stays_while_others_come_and_go() -> None:
    among = replicas(A, B)
    among.choose(0).failed(0)
    assert among.update([A, C]) == {B}
    assert chosen(among, count=3) == [C, C, C]
    assert len(among) == 2


@pytest.mark.parametrize("repeated", [[A, A, B], [A, B, A]])
def test_an_address_that_is_named_twice_is_one_replica(repeated: list[Address]) -> None:
    assert len(replicas(*repeated)) == 2
