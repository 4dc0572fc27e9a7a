"""The exported file in onnxruntime on the CPU, as in a server."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainserve.models.errors import WrongGraph

_NOT_IMPLEMENTED = re.compile(r"implementation for (?P<operator>\w+)\(|Fatal error: (?P<unknown>\S+?)\(-?\d+\) is not")
_FAILED_NODE = re.compile(r"running (?P<operator>\w+) node")


class Session:
    """A loaded file."""

    def __init__(self, model: Path) -> None:
        """Load the file. Raises WrongGraph naming the operator if onnxruntime cannot."""
        import onnxruntime  # type: ignore[import-untyped]

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.enable_cpu_mem_arena = False  # the arena keeps the memory of the largest batch
        options.log_severity_level = 4  # errors are in the exceptions
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise WrongGraph(f"model: onnxruntime cannot load the export: {_told(error, _NOT_IMPLEMENTED)}") from error
        (self._input,) = [tensor.name for tensor in self._session.get_inputs()]
        self._outputs = [tensor.name for tensor in self._session.get_outputs()]

    def prepared(self, given: NDArray[Any]) -> Callable[[], object]:
        """A function that runs the graph once on all of `given`."""
        feed = {self._input: given}
        return lambda: self._session.run(None, feed)

    def run(self, given: NDArray[Any], batch: int) -> dict[str, NDArray[Any]]:
        """Outputs by name for all of `given`, run in batches of `batch` rows.

        Raises WrongGraph naming the operator if a node fails.
        """
        parts = []
        for start in range(0, len(given), batch):
            part = given[start : start + batch]
            try:
                parts.append(self._session.run(None, {self._input: part}))
            except Exception as error:
                told = _told(error, _FAILED_NODE)
                raise WrongGraph(
                    f"model: onnxruntime cannot run the export on a batch of {len(part)}: {told}"
                ) from error
        return {name: np.concatenate([part[position] for part in parts]) for position, name in enumerate(self._outputs)}


def _told(error: Exception, operator: re.Pattern[str]) -> str:
    """`operator X: ` and onnxruntime's message, on one line."""
    text = " ".join(str(error).split())
    found = operator.search(text)
    named = next((name for name in found.groups() if name), None) if found else None
    return f"operator {named}: {text}" if named else text
