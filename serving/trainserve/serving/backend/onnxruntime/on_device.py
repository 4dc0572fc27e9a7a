"""Answers requests whose tensors lie on a GPU without bringing them to the CPU: io_binding, and DLPack on both sides.

Never run on a GPU: none was at hand. What was run is the same code between tensors on the CPU. Triton hands tensors
over where they are if the configuration's parameter FORCE_CPU_ONLY_INPUT_TENSORS is "no"; else they come to the CPU and
this room is not entered. Each request is run alone: to gather them would take a copy of its own.
"""

from __future__ import annotations

from typing import Any

import onnxruntime  # type: ignore[import-untyped]
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]


class OnDevice:
    """A session's runs with inputs and outputs on one device, `cuda` or `cpu`."""

    def __init__(self, session: Any, kind: str, number: int) -> None:
        self._session, self._kind, self._number = session, kind, number
        self._outputs = [tensor.name for tensor in session.get_outputs()]

    def has(self, request: Any) -> bool:
        """Whether an input of the request is not on the CPU."""
        return not all(tensor.is_cpu() for tensor in request.inputs())

    def tensors(self, request: Any) -> list[Any]:
        """The outputs for a request, in the graph's order; they stay on the device."""
        binding = self._session.io_binding()
        for tensor in request.inputs():
            if tensor.is_cpu():
                binding.bind_cpu_input(tensor.name(), tensor.as_numpy())
            else:
                binding.bind_ortvalue_input(tensor.name(), onnxruntime.OrtValue.from_dlpack(tensor))
        for name in self._outputs:
            binding.bind_output(name, self._kind, self._number)
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()  # the server reads them from a stream of its own
        return [pb_utils.Tensor.from_dlpack(*pair) for pair in zip(self._outputs, binding.get_outputs(), strict=True)]
