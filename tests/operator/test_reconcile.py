"""Applying a plan: which requests reach the API server."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trainserve.operator.objects import Object
from trainserve.operator.reconcile import difference

JSON = st.recursive(
    st.integers(0, 3) | st.text(max_size=2) | st.lists(st.integers(0, 2), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), JSON, max_size=4)


def merged(target: Any, patch: Any) -> Any:
    """Apply a JSON merge patch (RFC 7386, section 2)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


@given(OBJECTS, OBJECTS)
def test_the_patch_turns_one_status_into_the_other(before: Object, after: Object) -> None:
    assert merged(before, difference(before, after)) == after


@given(OBJECTS)
def test_equal_statuses_need_no_patch(status: Object) -> None:
    assert difference(status, status) == {}


def test_only_what_changed_is_sent() -> None:
    before = {"phase": "Running", "progress": {"epoch": 1, "epochs": 5}, "old": 1}
    after = {"phase": "Running", "progress": {"epoch": 2, "epochs": 5}}
    assert difference(before, after) == {"progress": {"epoch": 2}, "old": None}
