"""Which graphs are batched on a running server: every caller gets its own answer, equal to onnxruntime's."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tritonclient.http as triton

from tests.batching.graphs import B, model, node, numbers, tensor, weight
from tests.serving.serving import Serving
from trainserve import store
from trainserve.api.pod import SharedFile
from trainserve.client import Client
from trainserve.serving.devserver.server import DevelopmentServer
from trainserve.serving.pod.probe import Probe
from trainserve.serving.protocol.infer import InferenceError
from trainserve.serving.repository import repository, unbatched
from trainserve.serving.repository.settings import InvalidSettings, Settings
from trainserve.serving.repository.unbatched import Beside
from trainserve.serving.samples.recorded import Recorded
from trainserve.serving.sources.ready_repository import CONFIG
from trainserve.serving.sources.servable import Servable
from trainserve.serving.sources.source import open_servable
from trainserve.serving.verification.batching_trial import Company

X, Y = tensor("x", [B, 4]), tensor("y", [B, 4])
TEXT, NUMBER, TRUTH = onnx.TensorProto.STRING, onnx.TensorProto.INT64, onnx.TensorProto.BOOL
GRAPHS: dict[str, tuple[onnx.ModelProto, str]] = {
    "plain": (model([node("MatMul", "x w", "y")], [X], [Y], [weight("w", 4, 4)]), ""),
    "confidences": (
        model([node("Softmax", "x", "p", axis=1), node("ReduceMax", "p one", "confidence", keepdims=0),
               node("ArgMax", "p", "best", axis=1, keepdims=0)],
              [X], [tensor("confidence", [B]), tensor("best", [B], NUMBER)], [numbers("one", [1])]),
        "",
    ),
    "weighted": (  # also takes one number per row as an input
        model([node("Unsqueeze", "w one", "column"), node("Mul", "x column", "y")], [X, tensor("w", [B])], [Y],
              [numbers("one", [1])]),
        "",
    ),
    "classifier": (  # uses only ai.onnx.ml
        model([node("LinearClassifier", "x", "label p", domain="ai.onnx.ml", classlabels_strings=["a", "b", "c"],
                    coefficients=[float(at % 5) for at in range(12)], intercepts=[0.0] * 3)],
              [X], [tensor("label", [B], TEXT), tensor("p", [B, 3])], ai_onnx_ml=1),
        "",
    ),
    "shapeless": (model([node("MatMul", "x w", "y")], [X], [tensor("y", None)], [weight("w", 4, 4)]), ""),
    "mean": (
        model([node("ReduceMean", "x", "mean", keepdims=0), node("Relu", "x", "y")], [X], [Y, tensor("mean", [])]),
        "output mean is a scalar shared by all rows",
    ),
    "threshold": (
        model([node("Greater", "x t", "y")], [X, tensor("t", [])], [tensor("y", [B, 4], TRUTH)]),
        "input t is a scalar shared by all rows",
    ),
    "time": (
        model([node("GRU", "x w r", "all last", hidden_size=6), node("Squeeze", "all one", "y")],
              [tensor("x", ["time", 1, 5])], [tensor("y", ["time", 1, 6])],
              [weight("w", 1, 18, 5), weight("r", 1, 18, 6), numbers("one", [1])]),
        "its first axis is time",
    ),
    "running-sum": (model([node("CumSum", "x zero", "y")], [X], [Y], [numbers("zero", 0)]), "it adds up along axis 0"),
    "statistics": (
        model([node("ReduceMean", "x zero", "m"), node("Sub", "x m", "y")], [X], [Y], [numbers("zero", [0])]),
        "it reduces over axis 0",
    ),
    "baked": (
        model([node("Reshape", "x to", "f"), node("MatMul", "f w", "y")], [tensor("x", [B, 2, 2])], [Y],
              [numbers("to", [1, 4]), weight("w", 4, 4)]),
        "a batch size is baked in",
    ),
}  # fmt: skip
for _, (_graph, _) in GRAPHS.items():
    if _graph.opset_import[-1].domain == "ai.onnx.ml":
        del _graph.opset_import[0]  # the import of the standard operators, which the graph does not use


@dataclass
class Served:
    """A `trainserve serve` of all graphs, and of a published version whose manifest wrongly declares it batchable."""

    serving: Serving
    said: dict[str, str] = field(default_factory=dict)

    def ask(self, name: str, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        client = triton.InferenceServerClient(f"127.0.0.1:{self.serving.ports[0]}")
        inputs = []
        for each, array in given.items():
            inputs.append(triton.InferInput(each, array.shape, {"f": "FP32"}[array.dtype.kind]))
            inputs[-1].set_data_from_numpy(array)
        answer = client.infer(name, inputs)
        return {each["name"]: answer.as_numpy(each["name"]) for each in answer.get_response()["outputs"]}

    def max_batch(self, name: str) -> int:
        client = triton.InferenceServerClient(f"127.0.0.1:{self.serving.ports[0]}")
        return int(client.get_model_config(name)["max_batch_size"])


WRONG = "wrongly-recorded"


def publish_wrongly(root: Path, work: Path) -> Path:
    """Publish a running sum over rows that its manifest declares batchable; its samples were recorded row by row."""
    work.mkdir()
    onnx.save(GRAPHS["running-sum"][0], work / "model.onnx")
    rows = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    np.savez(work / "samples.npz", x=rows, y=rows)
    draft = store.ManifestDraft(
        opset=18,
        ir_version=10,
        inputs=[store.Tensor(name="x", dtype="float32", shape=[-1, 4])],
        outputs=[store.Tensor(name="y", dtype="float32", shape=[-1, 4])],
        labels=[],
        preprocessing=store.Preprocessing(scale=1.0, mean=[0.0], std=[1.0]),
        metrics=store.Metrics(accuracy=None, loss=None),
        parity=store.Parity(max_abs=0.0, max_rel=0.0, rtol=1e-3, atol=1e-5, samples=16),
        train_job=store.TrainJobRef(name="wrong"),
        spec={},
        batching=store.Batching(axis="first", reason="somebody thought so"),
    )
    files = {name: work / name for name in ("model.onnx", "samples.npz")}
    store.publish(root, "default", WRONG, files, draft)
    return root / "default" / WRONG / "1"


@pytest.fixture(scope="module")
def served(command: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("graphs")
    for name, (graph, _) in GRAPHS.items():
        onnx.save(graph, folder / f"{name}.onnx")
    version = publish_wrongly(folder / "store", folder / "work")
    serving = Serving(*(folder / f"{name}.onnx" for name in GRAPHS), version)
    found = Served(serving)
    try:
        while len(found.said) < len(GRAPHS) + 1:
            line = serving.lines.get(timeout=60)
            name, _, words = line.partition(": ")
            if words.startswith(("ready", "failed")):
                found.said[name] = words
            serving.said.append(line)
        yield found
    finally:
        serving.kill()


@pytest.mark.parametrize("name", GRAPHS)
def test_a_model_is_batched_where_that_is_proven_and_else_says_why_not(served: Served, name: str) -> None:
    why = GRAPHS[name][1]
    assert served.said[name].startswith("ready")
    assert (served.max_batch(name) == 0) == bool(why)
    assert ("not batched: " in served.said[name]) == bool(why)
    assert why in served.said[name]


@pytest.mark.parametrize("name", GRAPHS)
def test_every_caller_gets_onnxruntimes_answer_to_its_own_request(served: Served, name: str) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(GRAPHS[name][0].SerializeToString(), options)
    generator = np.random.default_rng(3)
    rows = [1] * 24 if name == "baked" else [1, 1, 2, 1, 3, 1] * 4
    requests = [{each.name: given(each, count, generator) for each in session.get_inputs()} for count in rows]
    sent = [{key: as_triton_takes(array) for key, array in request.items()} for request in requests]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda request: served.ask(name, request), sent * 4))
    for at, answer in enumerate(answers):
        for output, truth in zip(session.get_outputs(), session.run(None, requests[at % len(requests)]), strict=True):
            got = answer[output.name]
            # One number per row has an axis of 1 in the answer; a scalar has the shape that onnxruntime gives.
            assert got.shape == (truth.shape if truth.ndim != 1 else (*truth.shape, 1))
            same(got.reshape(truth.shape), truth)


def as_triton_takes(array: np.ndarray) -> np.ndarray:
    """Reshape for Triton, which has no scalars and requires a second axis of 1 for one number per row."""
    return array.reshape(-1, 1) if array.ndim == 1 else array.reshape(array.shape or (1,))


def given(tensor: Any, rows: int, generator: np.random.Generator) -> np.ndarray:
    shape = [rows if at == 0 else size for at, size in enumerate(tensor.shape)]
    return np.asarray(generator.normal(size=shape), np.float32)


def same(got: np.ndarray, truth: np.ndarray) -> None:
    if truth.dtype == object:
        assert [each.decode() for each in got] == truth.tolist()
    else:
        np.testing.assert_allclose(got, truth, rtol=1e-4, atol=1e-5)


def test_clients_send_one_number_for_each_row_as_they_have_it(served: Served) -> None:
    x, w = np.arange(12, dtype=np.float32).reshape(3, 4), np.array([1, 2, 3], np.float32)
    with Client(f"127.0.0.1:{served.serving.ports[0]}") as client:
        answer = client.infer(client.model("weighted"), {"x": x, "w": w})
        np.testing.assert_array_equal(answer["y"], x * w[:, None])
        answer = client.infer(client.model("threshold"), {"x": x, "t": np.array(5, np.float32)})
        np.testing.assert_array_equal(answer["y"], x > 5)
        seen = client.predict("classifier", x)
        assert (seen.labels, seen.probabilities.shape) == (("0", "1", "2"), (3, 3))
        assert client.predict("confidences", x).probabilities.shape == (3, 1)


def test_a_model_that_is_right_alone_and_wrong_in_company_is_loaded_anew_without_batches(served: Served) -> None:
    assert any(
        line.startswith(f"{WRONG}: recovering (loading it again without batches: in another order row ")
        for line in served.serving.said
    )
    assert served.said[WRONG].startswith("ready") and "not batched: in another order row" in served.said[WRONG]
    assert served.max_batch(WRONG) == 0


def test_a_pods_probe_has_the_server_started_anew_without_batches(command: Path, tmp_path: Path) -> None:
    version = open_servable(str(publish_wrongly(tmp_path / "store", tmp_path / "work")))
    entries = [repository.Entry(WRONG, version)]
    folders = repository.layout(entries)
    unbatched.of(entries, folders)[WRONG].save(tmp_path / SharedFile.BATCHING)
    repository.write_folders(folders, tmp_path / "repository")

    with DevelopmentServer(
        command, tmp_path / "repository", tmp_path / "log", "--disable-auto-complete-config"
    ) as server:
        company = Company(Beside(tmp_path))
        probe = Probe("127.0.0.1", server.http_port, WRONG, Recorded.load(version.folder, 16), company=company)
        with pytest.raises(InferenceError, match="restarted without batches: in another order"):
            probe.verify()
        assert probe.verified is None
        assert "max_batch_size" not in (tmp_path / "repository" / WRONG / CONFIG).read_text()
        alive, words = probe.alive()
        assert not alive and "without batches" in words  # so that the kubelet restarts the container
        server.kill()
        server.start()
        assert not probe.company.leaving("127.0.0.1", server.http_port, WRONG)
        probe.verify()
        assert probe.verified
        assert probe.alive()[0]
        told = probe.report().batching
        assert told is not None and told.axis == "none" and (told.reason or "").startswith("in another order row")


def opened(tmp_path: Path, name: str) -> Servable:
    onnx.save(GRAPHS[name][0], tmp_path / f"{name}.onnx")
    return open_servable(str(tmp_path / f"{name}.onnx"))


def config_of(model: Servable, **settings: Any) -> Any:
    (folder,) = repository.layout([repository.Entry("m", model, Settings.model_validate(settings))])
    return folder


@pytest.mark.parametrize(
    ("name", "axis", "batch"), [("running-sum", "first", 64), ("plain", "none", 0), ("plain", "auto", 64)]
)
def test_a_user_may_say_what_is_batched(tmp_path: Path, name: str, axis: str, batch: int) -> None:
    folder = config_of(opened(tmp_path, name), batchAxis=axis)
    assert folder.config.max_batch_size == batch
    assert ("settings say so" in folder.batching.reason) == (axis != "auto")


def test_what_has_no_rows_cannot_be_batched_on_anybodys_word(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="batchAxis: first is not possible: output mean is a scalar"):
        config_of(opened(tmp_path, "mean"), batchAxis="first")


def test_what_is_batched_on_its_users_word_is_not_taken_back(tmp_path: Path) -> None:
    entries = [repository.Entry("m", opened(tmp_path, "running-sum"), Settings(batch_axis="first"))]
    assert not unbatched.of(entries, repository.layout(entries))["m"].configs


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [
        ("weighted", {"x": ([4], None), "w": ([1], [])}, {"y": ([4], None)}),
        ("confidences", {"x": ([4], None)}, {"confidence": ([1], []), "best": ([1], [])}),
        ("threshold", {"x": ([-1, 4], None), "t": ([1], None)}, {"y": ([-1, 4], None)}),
    ],
)
def test_triton_is_told_of_an_axis_where_a_tensor_has_none(
    tmp_path: Path, name: str, inputs: dict[str, Any], outputs: dict[str, Any]
) -> None:
    config = config_of(opened(tmp_path, name)).config

    def told(tensors: Any) -> dict[str, Any]:
        return {
            each.name: (list(each.dims), list(each.reshape.shape) if each.HasField("reshape") else None)
            for each in tensors
        }

    assert (told(config.input), told(config.output)) == (inputs, outputs)


def test_a_queue_with_bounds_does_not_keep_a_model_from_being_ready(command: Path, tmp_path: Path) -> None:
    settings = Settings.model_validate({"dynamicBatching": {"queue": {"size": 1}}})
    entries = [repository.Entry("plain", opened(tmp_path, "plain"), settings)]
    repository.write(entries, tmp_path / "repository")
    with DevelopmentServer(
        command, tmp_path / "repository", tmp_path / "log", "--disable-auto-complete-config"
    ) as server:
        probe = Probe("127.0.0.1", server.http_port, "plain", None)
        probe.verify()
        assert probe.verified
        assert not probe.company.mixed
