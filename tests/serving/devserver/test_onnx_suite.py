"""onnx's own backend tests: the server answers what onnxruntime answers, and refusals name the tensor.

Of the operators' cases it runs every ninth, or every TRAINSERVE_ONNX_SUITE-th: 1 runs all of them, which takes minutes.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import onnxruntime
import pytest

from tests.serving.devserver import onnx_suite

EVERY = int(os.environ.get("TRAINSERVE_ONNX_SUITE", "9"))


@pytest.mark.timeout(1800)
def test_what_onnxruntime_answers_the_server_answers_alike(command: Path, tmp_path: Path) -> None:
    onnxruntime.set_default_logger_severity(4)
    cases = [*onnx_suite.of_files(), *onnx_suite.of_operators(EVERY)]
    tensors = {case.name: [each.name for each in (*case.model.graph.input, *case.model.graph.output)] for case in cases}
    outcome = onnx_suite.run(cases, command, tmp_path)
    assert (outcome.wrong, outcome.failed) == ({}, {})
    for name, words in outcome.refused.items():
        assert any(re.search(rf"\b{re.escape(tensor)}\b", words) for tensor in tensors[name]), words
    assert outcome.alike + len(outcome.refused) == outcome.answered > 1000 / EVERY
    assert outcome.alike >= 0.97 * outcome.answered
