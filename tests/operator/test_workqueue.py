"""The queue: one worker per key, nothing lost, and a longer delay after each failure."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trainserve.operator.workqueue import BACKOFF_LIMIT, Key, KeyQueue, Workers

A, B, C = (Key("TrainJob", "default", name) for name in "abc")


def test_keys_are_handed_out_in_the_order_in_which_they_became_due() -> None:
    queue = KeyQueue()
    for moment, key in enumerate([B, A, B, C]):
        queue.add(key, moment)
    assert [queue.take(9), queue.take(9), queue.take(9), queue.take(9)] == [B, A, C, None]


def test_a_key_that_is_worked_on_is_handed_out_again_only_afterwards() -> None:
    queue = KeyQueue()
    queue.add(A, 0)
    queue.take(0)
    queue.add(A, 1)
    queue.add(A, 2)
    assert queue.take(3) is None
    queue.done(A)
    assert queue.take(3) == A
    queue.done(A)
    assert queue.take(3) is None


def test_a_scheduled_key_becomes_due_in_its_time() -> None:
    queue = KeyQueue()
    queue.add_after(A, 5, now=0)
    assert queue.take(4.9) is None
    assert queue.next_wakeup() == 5
    assert queue.take(5) == A


def test_a_change_wakes_a_key_before_its_time_and_the_schedule_is_forgotten() -> None:
    queue = KeyQueue()
    queue.add_after(A, 5, now=0)
    queue.add(A, 1)
    assert queue.take(1) == A
    queue.done(A)
    assert queue.next_wakeup() is None
    assert queue.take(6) is None


def test_of_two_schedules_the_earlier_one_counts() -> None:
    queue = KeyQueue()
    queue.add_after(A, 5, now=0)
    queue.add_after(A, 2, now=0)
    queue.add_after(A, 9, now=0)
    assert queue.next_wakeup() == 2


def test_each_failure_in_a_row_waits_twice_as_long_up_to_a_limit() -> None:
    queue = KeyQueue()
    delays = []
    for _ in range(12):
        delays.append(queue.add_after_failure(A, 0))
    assert delays[:4] == [0.2, 0.4, 0.8, 1.6]
    assert delays[-1] == BACKOFF_LIMIT
    queue.forget_failures(A)
    assert queue.add_after_failure(A, 0) == 0.2


def test_the_oldest_age_counts_what_waits_and_what_is_worked_on() -> None:
    queue = KeyQueue()
    assert queue.oldest_age(100) == 0
    queue.add(A, 10)
    queue.add(B, 20)
    assert queue.oldest_age(30) == 20
    queue.take(25)
    assert queue.oldest_age(30) == 10


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["add", "later", "fail", "take", "done", "tick"]), st.sampled_from([A, B, C])),
    max_size=60,
)


@given(ACTIONS)
def test_no_key_is_lost_and_none_is_worked_on_twice_at_once(actions: list[Any]) -> None:
    queue, now = KeyQueue(), 0.0
    working: set[Key] = set()
    expected: set[Key] = set()
    for action, key in actions:
        if action == "add":
            queue.add(key, now)
            expected.add(key)
        elif action == "later":
            queue.add_after(key, 3, now)
            expected.add(key)
        elif action == "fail":
            queue.add_after_failure(key, now)
            expected.add(key)
        elif action == "tick":
            now += 1
        elif action == "take" and (taken := queue.take(now)) is not None:
            assert taken not in working
            working.add(taken)
            expected.discard(taken)
        elif action == "done" and key in working:
            working.remove(key)
            queue.done(key)
    for key in working:
        queue.done(key)
    left = set()
    while (taken := queue.take(now + 1000)) is not None:
        left.add(taken)
        queue.done(taken)
    assert left == expected


class Work:
    """A reconcile function that records its calls and returns or fails as configured."""

    def __init__(self) -> None:
        self.calls: list[Key] = []
        self.at_once = self.most_at_once = 0
        self.failures = 0
        self.enough = asyncio.Event()
        self.wanted = 1

    async def __call__(self, key: Key) -> float | None:
        self.calls.append(key)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        if len(self.calls) >= self.wanted:
            self.enough.set()
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the API server is away")
        return None


async def run_until_enough(work: Work, workers: Workers) -> None:
    task = asyncio.create_task(workers.run())
    try:
        async with asyncio.timeout(30):
            await work.enough.wait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def opened() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate


async def test_a_failed_reconcile_is_tried_again() -> None:
    work = Work()
    work.failures, work.wanted = 2, 3
    workers = Workers(work, opened())
    workers.add(A)
    await run_until_enough(work, workers)
    assert work.calls == [A, A, A]


async def test_many_keys_share_few_workers_and_all_are_served() -> None:
    work = Work()
    work.wanted = 200
    workers = Workers(work, opened(), size=4)
    for number in range(200):
        workers.add(Key("TrainJob", "default", str(number)))
    await run_until_enough(work, workers)
    assert len(set(work.calls)) == 200
    assert work.most_at_once == 4


async def test_nothing_is_reconciled_while_the_gate_is_shut() -> None:
    work, gate = Work(), asyncio.Event()
    workers = Workers(work, gate)
    workers.add(A)
    task = asyncio.create_task(workers.run())
    for _ in range(20):
        await asyncio.sleep(0)
    assert work.calls == []
    gate.set()
    async with asyncio.timeout(30):
        await work.enough.wait()
    task.cancel()


def test_namespaces_take_turns_and_each_keeps_its_order() -> None:
    queue = KeyQueue()
    crowd = [Key("TrainJob", "crowd", f"job-{number}") for number in range(1500)]
    for key in crowd:
        queue.add(key, 0)
    first = [queue.take(1), queue.take(1)]
    late = [Key("TrainJob", "neighbour", "one"), Key("ModelServe", "neighbour", "two"), Key("TrainJob", "third", "x")]
    for key in late:
        queue.add(key, 2)
    assert first == crowd[:2]
    taken = [queue.take(3) for _ in range(8)]
    assert taken == [crowd[2], late[0], late[2], crowd[3], late[1], crowd[4], crowd[5], crowd[6]]
    assert queue.depth() == 1500 + 3
    assert queue.oldest_age(3) == 3


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), max_size=60))
def test_no_key_waits_for_more_than_one_turn_of_every_other_namespace(added: list[tuple[str, int]]) -> None:
    queue = KeyQueue()
    keys = [Key("TrainJob", namespace, str(number)) for namespace, number in added]
    for key in keys:
        queue.add(key, 0)
    taken = [each for _ in set(keys) if (each := queue.take(1)) is not None]
    assert sorted(taken) == sorted(set(keys))
    for namespace in "abc":
        own = [place for place, key in enumerate(taken) if key.namespace == namespace]
        assert [taken[place] for place in own] == [key for key in dict.fromkeys(keys) if key.namespace == namespace]
        assert all(later - earlier <= 3 for earlier, later in itertools.pairwise(own))
