"""Property test: whatever pods report or undergo, the status can be written and no two attempts run at once."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.operator.support import (
    PUBLISHED,
    RUNNING,
    Run,
    ended,
    failed,
    gang,
    trainjob,
)
from trainserve.operator import labels

SAID: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=3) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


PROGRESS = st.dictionaries(st.sampled_from(["epoch", "epochs", "step", "loss", "updatedTime", "percent"]), SAID)


ARTIFACT = st.dictionaries(st.sampled_from(["uri", "version", "digest", "bytes", "opset", "parity"]), SAID)


MESSAGE = st.fixed_dictionaries(
    {"outcome": st.sampled_from(["Published", "Failed", "Trained"]) | SAID},
    optional={
        "reason": SAID,
        "message": SAID,
        "progress": PROGRESS | SAID,
        "result": SAID,
        "artifact": ARTIFACT | SAID,
    },
)


@settings(max_examples=300)
@given(message=MESSAGE, exit_code=st.sampled_from([0, 1, 143]))
def test_whatever_a_pod_says_at_its_end_the_status_can_be_written(message: Any, exit_code: int) -> None:
    run = Run(trainjob(policy={"retries": 0}))
    run.step()
    run.set("digits-1-0", ended(exit_code, message))
    run.step(11)
    assert run.status["phase"] in ("Complete", "Failed")
    json.dumps(run.status, ensure_ascii=False, allow_nan=False).encode()
    assert all(abs(number) < 2**53 for number in integers(run.status))
    assert "" not in texts(run.status)


def integers(value: Any) -> list[int]:
    """Return every integer in `value`, at any depth."""
    if isinstance(value, dict | list):
        return [found for inner in (value.values() if isinstance(value, dict) else value) for found in integers(inner)]
    return [value] if isinstance(value, int) else []


def texts(value: Any) -> list[str]:
    """Return every string in `value`, at any depth."""
    if isinstance(value, dict | list):
        return [found for inner in (value.values() if isinstance(value, dict) else value) for found in texts(inner)]
    return [value] if isinstance(value, str) else []


ENDS: list[Any] = [
    ended(0, PUBLISHED, reason="Completed"),
    ended(1, failed("UserError", "a")),
    ended(1, failed("StoreError", "b")),
    ended(137, "", reason="OOMKilled"),
    ended(143),
    ended(14, failed("RankLost")),
    {"phase": "Failed", "reason": "Evicted", "message": "disk"},
    RUNNING,
    "deleted",
    "nothing",
]


@settings(max_examples=150)
@given(
    size=st.integers(1, 3),
    moves=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(ENDS), st.integers(0, 40)), max_size=25),
)
def test_whatever_happens_to_the_pods_no_two_attempts_live_at_once(size: int, moves: list[Any]) -> None:
    run, clock = gang(size), 0
    for rank, what, pause in moves:
        live = [name for name in run.pods() if run.children[name]["status"]["phase"] not in ("Succeeded", "Failed")]
        if rank < len(live) and what == "deleted":
            del run.children[live[rank]]
        elif rank < len(live) and what != "nothing":
            run.set(live[rank], what)
        clock += pause
        run.step(clock)
        attempts = {
            run.children[name]["metadata"]["labels"][labels.ATTEMPT]
            for name in run.pods()
            if run.children[name]["status"]["phase"] not in ("Succeeded", "Failed")
        }
        assert len(attempts) <= 1
        open_attempts = [attempt for attempt in run.status["attempts"] if "completionTime" not in attempt]
        assert open_attempts in ([], run.status["attempts"][-1:])
        assert run.status == json.loads(json.dumps(run.status))
