"""Property test: whatever the pods of a ModelServe report, its status can be written."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.operator.serving import (
    FIRST,
    SUFFIX,
    Serve,
    answer_resolver,
)
from tests.operator.support import ended
from trainserve.operator.objects import Object

SAID: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


REPORT = st.dictionaries(st.sampled_from(["verified", "reason", "message", "p50Ms", "p99Ms"]), SAID)


MESSAGE = st.fixed_dictionaries(
    {"outcome": st.sampled_from(["Resolved", "Failed", "Fetched"]) | SAID},
    optional={"reason": SAID, "message": SAID, "uri": SAID, "version": SAID, "digest": SAID},
)


@settings(max_examples=200)
@given(report=REPORT, fetched=MESSAGE, resolved=MESSAGE, ready=st.booleans())
def test_whatever_the_pods_say_the_status_can_be_written(
    report: Object, fetched: Object, resolved: Object, ready: bool
) -> None:
    serve = Serve(FIRST)
    serve.step()
    answer_resolver(serve, 1, resolved)
    if ready:
        serve.make_ready(SUFFIX)
        serve.answers = {f"digits-{SUFFIX}-x": report}
    else:
        end = ended(1, fetched, container="fetch")
        serve.add_pod(SUFFIX, {"phase": "Pending", "initContainerStatuses": end["containerStatuses"]}, report)
    serve.step(5)
    json.dumps(serve.status, ensure_ascii=False, allow_nan=False).encode()
    assert all(found["reason"] and found["message"] for found in serve.status["conditions"])
