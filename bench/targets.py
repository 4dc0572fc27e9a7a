"""Targets of bench/serving.py: the servers, which all run at once, and the client of each."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bench import zoo
from bench.peers.environment import FASTAPI, KSERVE, MLSERVER
from bench.wrk import Figures, wrk
from trainserve.serving.devserver import runtime
from trainserve.serving.devserver.server import DevelopmentServer
from trainserve.serving.load import loops
from trainserve.serving.load.latency import summary
from trainserve.serving.load.requests import Prepared
from trainserve.serving.repository import repository
from trainserve.serving.repository.settings import Settings
from trainserve.serving.sources.source import open_servable

Form = Literal["binary", "raw", "JSON", "gRPC"]
OCTETS = {"Content-Type": "application/octet-stream"}
NOOP = """
import numpy as np
import triton_python_backend_utils as pb_utils

ANSWER = np.zeros((1, 10), np.float32)


class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse([pb_utils.Tensor("probabilities", ANSWER)]) for _ in requests]
"""
IDLE = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.answer = pb_utils.Tensor("probabilities", np.zeros((1, 10), np.float32))

    def execute(self, requests):
        return [pb_utils.InferenceResponse([self.answer]) for _ in requests]
"""
PROGRAMS = {"no-op": NOOP, "idle": IDLE}
"""Models of the python backend that neither read their input nor compute anything. The first creates a tensor for each
response, as NVIDIA's examples do; the second returns the same tensor every time, less work than any useful model."""
EMPTY = "empty-graph"
CEILINGS = (*PROGRAMS, EMPTY)


@dataclass(frozen=True)
class Target:
    """One server asked in one form for one model, at each of `concurrency`.

    `often`: in every round, because a goal depends on it; else in every second one.
    """

    system: str
    model: str
    form: Form
    address: str
    concurrency: tuple[int, ...] = (1, 8, 32)
    often: bool = False

    def measure(self, concurrency: int, seconds: int, folder: Path) -> Figures:
        """Measure the server under load; the client is wrk over HTTP, trainserve.serving.load over gRPC."""
        image = picture(self.model)
        if self.form == "gRPC":
            asked = Prepared.inferences("grpc", self.model, [{"images": image}], ["probabilities"])
            seen = summary(loops.closed(self.address, asked, concurrency, seconds))
            if seen.errors or seen.unanswered or seen.p50_ms is None:
                raise SystemExit(f"{self.system} gRPC: not every request was answered: {seen.first_error}")
            return Figures(seen.rate, seen.p50_ms, seen.p99_ms or seen.max_ms or 0.0)
        path, headers, body = self._http(image)
        return wrk(f"http://{self.address}{path}", headers, body, concurrency, seconds, folder)

    def _http(self, image: np.ndarray[Any, Any]) -> tuple[str, Mapping[str, str], bytes]:
        if self.form == "raw":
            return "/infer", OCTETS, image.tobytes()
        path = f"/v2/models/{self.system if self.system in CEILINGS else self.model}/infer"
        tensor = {"name": "images", "shape": image.shape, "datatype": "UINT8"}
        if self.form == "JSON":
            body = json.dumps({"inputs": [tensor | {"data": image.ravel().tolist()}]}).encode()
            return path, {"Content-Type": "application/json"}, body
        inputs = [tensor | {"parameters": {"binary_data_size": image.nbytes}}]
        header = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
        return path, OCTETS | {"Inference-Header-Content-Length": str(len(header))}, header + image.tobytes()


def picture(model: str) -> np.ndarray[Any, Any]:
    """Return the image that every request sends, (1, H, W, C) uint8."""
    shape, _ = zoo.SHAPES[model]
    return np.random.default_rng(0).integers(0, 256, (1, *shape), dtype=np.uint8)


def empty_graph() -> onnx.ModelProto:
    """Return a graph with the convnet's inputs and outputs that computes nothing: it returns ten pixels per image."""
    numbers = {"rows": [0, 784], "begin": [0], "end": [10], "axis": [1]}
    nodes = [
        helper.make_node("Reshape", ["images", "rows"], ["flat"]),
        helper.make_node("Slice", ["flat", "begin", "end", "axis"], ["ten"]),
        helper.make_node("Cast", ["ten"], ["probabilities"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "empty",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 28, 28, 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(np.array(values), name) for name, values in numbers.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def write_repository(folder: Path) -> Path:
    """Write and return a Triton repository: convnet, resnet50 (as many threads as cores), and the trivial models."""
    threads = {"convnet": 1, "resnet50": os.cpu_count() or 1}
    models = {name: open_servable(str(zoo.exported(name))) for name in threads}
    entries = [repository.Entry(name, model, Settings(threads=threads[name])) for name, model in models.items()]
    python = Settings(overrides={"backend": "python", "default_model_filename": "model.py"})
    entries += [repository.Entry(name, models["convnet"], python) for name in PROGRAMS]
    onnx.save(empty_graph(), folder / "empty.onnx")
    entries.append(repository.Entry(EMPTY, open_servable(str(folder / "empty.onnx")), Settings()))
    repository.write(entries, folder / "repository")
    for name, program in PROGRAMS.items():
        (folder / "repository" / name / "1/model.py").write_text(program)
    return folder / "repository"


@contextlib.contextmanager
def running(folder: Path) -> Iterator[tuple[DevelopmentServer, list[Target]]]:
    """Run all servers; yield our server without its guard, and all targets."""
    command, models = runtime.install(), write_repository(folder)
    quick = "--disable-auto-complete-config"
    small, large = zoo.exported("convnet"), zoo.exported("resnet50")
    threads = f"threads={os.cpu_count() or 1}"
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(DevelopmentServer(command, models, folder / "log", quick, guard=False))
        guarded = stack.enter_context(DevelopmentServer(command, models, folder / "guarded", quick))
        fast, _ = stack.enter_context(FASTAPI.serving(small, "convnet", folder))
        plain, _ = stack.enter_context(FASTAPI.serving(small, "convnet", folder, "loop=asyncio", "http=h11"))
        mlserver = stack.enter_context(MLSERVER.serving(small, "convnet", folder))
        kserve = stack.enter_context(KSERVE.serving(small, "convnet", folder))
        large_fast, _ = stack.enter_context(FASTAPI.serving(large, "resnet50", folder, threads))
        large_mlserver = stack.enter_context(MLSERVER.serving(large, "resnet50", folder, threads))
        large_kserve = stack.enter_context(KSERVE.serving(large, "resnet50", folder, threads))
        yield (
            ours,
            [
                Target("triton", "convnet", "binary", ours.url, often=True),
                Target("no-op", "convnet", "binary", ours.url, often=True),
                Target("idle", "convnet", "binary", ours.url, (32,), often=True),
                Target(EMPTY, "convnet", "binary", ours.url, often=True),
                Target("triton + guard", "convnet", "binary", guarded.url, often=True),
                Target("fastapi", "convnet", "raw", plain, often=True),
                Target("fastapi + uvloop", "convnet", "raw", fast, often=True),
                Target("kserve", "convnet", "binary", kserve[0]),
                Target("triton", "convnet", "JSON", ours.url),
                Target("fastapi + uvloop", "convnet", "JSON", fast),
                Target("mlserver", "convnet", "JSON", mlserver[0]),
                Target("kserve", "convnet", "JSON", kserve[0]),
                Target("triton", "convnet", "gRPC", ours.grpc_url),
                Target("mlserver", "convnet", "gRPC", mlserver[1]),
                Target("kserve", "convnet", "gRPC", kserve[1]),
                Target("triton", "resnet50", "binary", ours.url, (1,), often=True),
                Target("triton", "resnet50", "binary", ours.url, (8,)),
                Target("triton", "resnet50", "gRPC", ours.grpc_url, (1,)),
                Target("fastapi + uvloop", "resnet50", "raw", large_fast, (1, 8)),
                Target("kserve", "resnet50", "binary", large_kserve[0], (1, 8)),
                Target("mlserver", "resnet50", "gRPC", large_mlserver[1], (1, 8)),
            ],
        )
