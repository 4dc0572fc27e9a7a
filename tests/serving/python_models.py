"""Models of Triton's python backend; each instance is a separate process that a test can kill or suspend."""

from __future__ import annotations

from pathlib import Path

import onnx

PROGRAM = """
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        graph = Path(args["model_repository"], args["model_version"], "graph.onnx")
        self.session = onnxruntime.InferenceSession(str(graph))

    def execute(self, requests):
        return [self.answer(request.inputs()[0].as_numpy()) for request in requests]

    def answer(self, images):
        (probabilities,) = self.session.run(None, {"images": images})
        return pb_utils.InferenceResponse([pb_utils.Tensor("probabilities", probabilities)])
"""
CONFIG = """
backend: "python"
max_batch_size: 32
input {{ name: "images" data_type: TYPE_UINT8 dims: [28, 28, 1] }}
output {{ name: "probabilities" data_type: TYPE_FP32 dims: [10] }}
instance_group {{ count: {instances} kind: KIND_CPU }}
"""


def write(repository: Path, name: str, graph: onnx.ModelProto, *, instances: int = 1, more: str = "") -> None:
    """Write the convnet `graph` as a model of a ready repository; `more` is appended to its configuration."""
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(CONFIG.format(instances=instances) + more)
    (repository / name / "1/model.py").write_text(PROGRAM)
    onnx.save(graph, repository / name / "1/graph.onnx")
