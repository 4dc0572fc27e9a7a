"""Messages for a model that a server refuses."""

from __future__ import annotations

import pytest

from trainserve.serving.devserver import refusals


@pytest.mark.parametrize(("version", "old"), [(1, True), (6, True), (7, False), (16, False)])
def test_an_operator_of_an_old_opset_is_told_from_one_that_is_too_new(version: int, old: bool) -> None:
    told = f"onnxruntime: NOT_IMPLEMENTED: Could not find an implementation for Add({version}) node with name ''"
    words = refusals.words("m", told, "")
    assert words.startswith(told)
    assert ("before opset 7" in words) == old
