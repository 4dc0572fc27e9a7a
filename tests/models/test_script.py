"""A whole script of the user's own: how it is run, what becomes of the model it leaves, how it fails."""

import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from trainserve import store
from trainserve.models import sdk
from trainserve.models.config import Export
from trainserve.models.errors import GateNotMet, ParityFailed, UserError
from trainserve.models.interrupt import Interrupt
from trainserve.models.progress import Progress
from trainserve.models.script import own_graph
from trainserve.models.script.config import parse
from trainserve.models.script.network import Adopted, adopt
from trainserve.models.script.run import ScriptRun
from trainserve.models.script.running import Left
from trainserve.models.terminal import Terminal

from .conftest import Pod

EXAMPLES = Path(__file__).parents[2] / "examples"
RunScript = Callable[..., dict[str, Any]]

# Two classes: is the sum of the inputs positive? The weights that say so are set, nothing is trained.
MODEL = """
    import torch
    from torch import nn
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[-1.0], [1.0]]).expand(2, 12))
        model[1].bias.zero_()
    images = torch.randn(300, 1, 3, 4, generator=torch.Generator().manual_seed(0))
    labels = (images.sum((1, 2, 3)) > 0).long()
"""
PUBLISH = (
    MODEL
    + """
    from trainserve.models import sdk
    run = sdk.start(epochs=2)
    run.epoch(1, loss=0.5, accuracy=0.9, samples=300)
    run.epoch(2, loss=torch.tensor(0.25), accuracy=0.95, samples=300)
    run.publish(model, images, labels)
"""
)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def script(source: str) -> Path:
        path = tmp_path / "train.py"
        path.write_text(textwrap.dedent(source))
        return path

    return script


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[str], Path]) -> Iterator[RunScript]:
    """Runs a script in this process as a pod would: its termination message, or what was raised."""
    monkeypatch.setenv("TRAINSERVE_OUTPUT", str(tmp_path / "output"))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    for variable in ("KERAS_BACKEND", "KERAS_HOME"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)

    def execute(source: str, progress: Progress | None = None, **sections: Any) -> dict[str, Any]:
        config = {
            "store": {"root": str(tmp_path / "store")},
            "model": {"script": str(write(source))},
            "output": {"model": "mine"},
            **sections,
        }
        config = {name: section for name, section in config.items() if section is not None}
        with Terminal(time.perf_counter()) as terminal:
            script = parse(config, tmp_path)
            return ScriptRun(script, progress or Progress(), terminal, Interrupt(), {}).execute()

    return execute


def manifest(tmp_path: Path) -> store.Manifest:
    return store.manifest(tmp_path / "store", "default", "mine", 1)


def test_a_model_that_is_handed_over_is_exported_checked_and_published(run: RunScript, tmp_path: Path) -> None:
    progress = Progress()
    message = run(PUBLISH, progress, gates={"minAccuracy": 0.99})
    assert message["outcome"] == "Published"
    assert message["result"]["accuracy"] == 1.0
    assert message["result"]["samplesPerSecond"] > 0
    made = manifest(tmp_path)
    assert made.inputs == [store.Tensor(name="images", dtype="float32", shape=[-1, 1, 3, 4])]
    assert made.outputs == [store.Tensor(name="probabilities", dtype="float32", shape=[-1, 2])]
    assert (made.preprocessing.scale, made.preprocessing.mean, made.preprocessing.std) == (1.0, [0.0], [1.0])
    assert (made.parity.samples, made.parity.reference) == (256, "pytorch")
    assert made.spec["model"] == {"script": str(tmp_path / "train.py")}
    assert "trainer" not in made.spec
    with np.load(tmp_path / "store/default/mine/1/samples.npz") as samples:
        assert (samples["probabilities"].argmax(axis=1) == samples["labels"]).all()
        assert samples["probabilities"].sum(axis=1) == pytest.approx(np.ones(64), abs=1e-5)


def test_what_the_script_reports_is_its_progress(run: RunScript) -> None:
    progress = Progress()
    seen: list[dict[str, Any]] = []
    whole = progress.update

    def update(**changes: Any) -> None:
        whole(**changes)
        seen.append(progress.report())

    progress.update = update  # type: ignore[method-assign]
    run(PUBLISH, progress)
    first, second = (next(s for s in seen if s.get("epoch") == epoch) for epoch in (1, 2))
    assert (first["epochs"], first["percent"], first["loss"], first["accuracy"]) == (2, 45, 0.5, 0.9)
    assert first["samplesPerSecond"] > 0
    assert (second["percent"], second["loss"]) == (90, 0.25)
    assert second["etaSeconds"] == 0


def test_the_model_is_published_as_it_was_when_it_was_handed_over(run: RunScript) -> None:
    message = run(PUBLISH + "    with torch.no_grad(): model[1].weight.zero_()\n")
    assert message["result"]["accuracy"] == 1.0


def test_a_script_runs_as_python_would_run_it(run: RunScript, tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("VALUE = 7\n")
    message = run(
        """
        import sys, pickle, beside
        class Mine: pass
        assert __name__ == "__main__"
        assert sys.argv == [__file__]
        assert beside.VALUE == 7
        assert isinstance(pickle.loads(pickle.dumps(Mine())), Mine)
        """,
        output=None,
    )
    assert message["outcome"] == "Trained"
    assert "artifact" not in message


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("x = 1\n\ny = x / 0\n", r"model\.script: train\.py, line 3: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)\n", r"train\.py, line 2: exited with code 3"),
        ("import sys\nsys.exit('no data')\n", r"train\.py, line 2: exited with no data"),
        ("def f(:\n", r"train\.py, line 1: SyntaxError: "),
        ("import json\ndef f():\n    json.loads('{')\nf()\n", r"train\.py, line 3: JSONDecodeError: "),
        (
            "from trainserve.models import sdk\nsdk.start().epoch(0)\n",
            r"train\.py, line 2: run\.epoch: epoch 0 is not allowed; must be >= 1",
        ),
        ("x = 1\n", r"the script ended and left no model: it must call run\.publish"),
    ],
)
def test_what_is_wrong_is_a_user_error_that_names_the_line(run: RunScript, source: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        run(source)


def test_an_exit_with_nothing_wrong_is_an_end(run: RunScript) -> None:
    assert run("import sys\nsys.exit(0)\n", output=None)["outcome"] == "Trained"


def test_a_script_that_is_not_there_is_named(run: RunScript, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.script: .*/nowhere\.py: No such file or directory"):
        run("", model={"script": "nowhere.py"})


def test_a_pod_ends_with_the_traceback_in_its_log_and_code_1(
    start_pod: Callable[..., Pod], write: Callable[[str], Path]
) -> None:
    pod = start_pod({"model": {"script": str(write("def fail():\n    raise KeyError('x')\nfail()\n"))}})
    code, _, err = pod.finish()
    assert code == 1
    assert err.startswith("Traceback (most recent call last):\n")
    assert 'train.py", line 3, in <module>' in err
    assert "trainserve/models" not in err
    assert (pod.message["outcome"], pod.message["reason"]) == ("Failed", "UserError")
    assert pod.message["message"] == "model.script: train.py, line 2: KeyError: 'x'"


@pytest.mark.parametrize("waiting", ["time.sleep(60)", "swallow()"])
def test_sigterm_ends_a_script_with_143(
    start_pod: Callable[..., Pod], write: Callable[[str], Path], waiting: str
) -> None:
    script = write(
        f"""
        import time
        from trainserve.models import sdk
        run = sdk.start(epochs=10)
        def swallow():
            try:
                time.sleep(60)
            except BaseException:
                print("swallowed")
            run.epoch(2)
        run.epoch(1)
        {waiting}
        """
    )
    pod = start_pod({"model": {"script": str(script)}})
    pod.wait_for(lambda progress: progress.get("epoch") == 1)
    pod.process.send_signal(signal.SIGTERM)
    code, _, err = pod.finish()
    assert (code, err) == (143, "")
    assert pod.message["reason"] == "Interrupted"


def test_without_a_run_the_sdk_does_nothing(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("TRAINSERVE_CONFIG", raising=False)
    outside = sdk.start(epochs=3)
    outside.epoch(1, loss=1.0, accuracy=0.5)
    outside.publish(None, [], [])  # type: ignore[arg-type]
    assert capfd.readouterr() == ("", "")


def test_a_gate_needs_a_measured_accuracy(run: RunScript) -> None:
    with pytest.raises(GateNotMet, match=r"gates\.minAccuracy: no accuracy was measured"):
        run(MODEL + EXPORT, gates={"minAccuracy": 0.5})


def test_a_gate_that_is_not_met_publishes_nothing(run: RunScript, tmp_path: Path) -> None:
    with pytest.raises(GateNotMet, match=r"gates\.minAccuracy: accuracy 0\.\d+ is below 0\.9"):
        run(
            PUBLISH.replace("run.publish(model, images, labels)", "run.publish(model, images, 1 - labels)"),
            gates={"minAccuracy": 0.9},
        )
    assert not (tmp_path / "store").exists()


EXPORT = """
    import os
    torch.onnx.export(model.eval(), (images[:2],), os.environ["TRAINSERVE_OUTPUT"] + "/model.onnx", dynamo=True,
                      external_data=False, input_names=["pixels"], output_names=["scores"],
                      dynamic_shapes=({0: torch.export.Dim("n")},), verbose=False)
"""
SAMPLES = """
    import numpy as np
    with torch.no_grad(): scores = model(images).numpy()
    np.savez(os.environ["TRAINSERVE_OUTPUT"] + "/samples.npz", pixels=images.numpy(), scores=scores, labels=labels)
"""


def test_a_file_that_the_script_wrote_is_checked_and_never_said_to_match_pytorch(
    run: RunScript, tmp_path: Path
) -> None:
    message = run(MODEL + EXPORT)
    assert message["outcome"] == "Published"
    assert "parity" not in message["artifact"]
    assert message["result"]["accuracy"] is None
    made = manifest(tmp_path)
    assert made.inputs == [store.Tensor(name="pixels", dtype="float32", shape=[-1, 1, 3, 4])]
    assert made.outputs == [store.Tensor(name="scores", dtype="float32", shape=[-1, 2])]
    assert (made.parity.reference, made.parity.max_abs, made.parity.samples) == ("none", None, 0)
    with np.load(tmp_path / "store/default/mine/1/samples.npz") as samples:
        assert (samples["pixels"].shape, samples["scores"].shape) == ((64, 1, 3, 4), (64, 2))


def test_samples_beside_it_are_what_it_is_compared_with(run: RunScript, tmp_path: Path) -> None:
    message = run(MODEL + EXPORT + SAMPLES, gates={"minAccuracy": 0.99})
    assert message["result"]["accuracy"] == 1.0
    assert message["artifact"]["parity"]["maxAbs"] < 1e-4
    assert (manifest(tmp_path).parity.reference, manifest(tmp_path).parity.samples) == ("script", 300)


def test_a_file_that_answers_otherwise_than_its_samples_is_refused(run: RunScript) -> None:
    with pytest.raises(
        ParityFailed, match=r"model\.onnx: scores differs from samples\.npz by up to 1; must be at most"
    ):
        run(MODEL + EXPORT + SAMPLES.replace("scores=scores", "scores=scores + 1"))


@pytest.mark.parametrize(
    ("break_it", "complaint"),
    [
        ("model.opset_import[0].version = 22", r"model\.onnx: opset 22 is not allowed; must be 7 to 21"),
        ("model.ir_version = 11", r"model\.onnx: IR version 11 is not allowed; must be <= 10"),
        ("model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1", r"in has shape \[1, 3\]; its first axis"),
        ("model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = 'k'", r"out has shape \[-1, -1\]"),
        ("model.graph.node[0].op_type = 'Nonsense'", r"model\.onnx: not a valid ONNX model: .*Nonsense"),
        (
            "model.graph.node[0].op_type = 'BitwiseNot'",
            r"model\.onnx: (not a valid ONNX model|onnxruntime cannot load it)",
        ),
    ],
)
def test_a_file_that_could_not_be_served_is_refused(tmp_path: Path, break_it: str, complaint: str) -> None:
    model = a_graph()
    exec(break_it, {"model": model})
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(UserError, match=complaint):
        own_graph.take(tmp_path, parse({"model": {"script": "a.py"}}, tmp_path))


@pytest.mark.parametrize(
    ("samples", "complaint"),
    [
        ({"in": np.zeros((4, 3), np.float32)}, r"samples\.npz: no array 'out'; found in"),
        (
            {"in": np.zeros((4, 3)), "out": np.zeros((4, 3), np.float32)},
            r"in is float64 \[4, 3\]; must be float32 \[-1, 3\]",
        ),
        ({"in": np.zeros((4, 3), np.float32), "out": np.zeros((5, 3), np.float32)}, r"found in 4, out 5"),
        ({"in": np.zeros((0, 3), np.float32), "out": np.zeros((0, 3), np.float32)}, r"at least 1; found in 0, out 0"),
    ],
)
def test_samples_that_do_not_fit_the_file_are_refused(tmp_path: Path, samples: Any, complaint: str) -> None:
    onnx.save(a_graph(), tmp_path / "model.onnx")
    np.savez(tmp_path / "samples.npz", **samples)
    with pytest.raises(UserError, match=complaint):
        own_graph.take(tmp_path, parse({"model": {"script": "a.py"}}, tmp_path))


def test_what_acts_on_an_export_of_ours_is_refused_for_the_scripts_own(tmp_path: Path) -> None:
    onnx.save(a_graph(), tmp_path / "model.onnx")
    config = parse({"model": {"script": "a.py"}, "export": {"topK": 1}}, tmp_path)
    with pytest.raises(UserError, match=r"export: precision and topK are not allowed where the script writes"):
        own_graph.take(tmp_path, config)


def a_graph() -> onnx.ModelProto:
    """out = abs(in), (N, 3) float32."""
    batch = ["n", 3]
    given, answer = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, batch) for name in ("in", "out"))
    graph = onnx.helper.make_graph([onnx.helper.make_node("Abs", ["in"], ["out"])], "abs", [given], [answer])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize(
    ("outputs", "targets", "task", "answers"),
    [
        ([[0.0, 0.0], [2.0, 0.0]], [0, 1], "classification", [[0.5, 0.5], [0.8808, 0.1192]]),
        ([[0.5, 0.5], [0.9, 0.1]], [0, 1], "classification", [[0.5, 0.5], [0.9, 0.1]]),
        ([[0.5, 0.5], [0.9, 0.1]], [[1.0], [0.0]], "classification", [[0.5, 0.5], [0.9, 0.1]]),
        ([[0.5, 0.5], [0.9, 0.1]], [[0.0, 1.0], [1.0, 0.0]], "classification", [[0.5, 0.5], [0.9, 0.1]]),
        ([[0.5, 0.5], [0.9, 0.1]], [[0.5, 3.0], [1.0, 0.0]], "regression", [[0.5, 0.5], [0.9, 0.1]]),
        ([[0.5], [0.9]], [1, 0], "regression", [[0.5], [0.9]]),
    ],
)
def test_a_classifier_answers_with_probabilities_and_a_regression_as_it_is(
    outputs: Any, targets: Any, task: str, answers: Any
) -> None:
    adopted = adopted_of(np.array(outputs), np.array(targets))
    assert adopted.dataset.task == task
    given = adopted.dataset.test_images
    (answered,) = adopted.graph.answer(given).values()
    assert answered == pytest.approx(np.array(answers), abs=1e-4)
    assert (adopted.accuracy is None) == (task == "regression")


@pytest.mark.parametrize(
    ("outputs", "targets", "complaint"),
    [
        (np.zeros((2, 3)), np.array([0, 3]), "label 3 is not allowed; must be 0 to 2: the model has 3 outputs"),
        (np.zeros((2, 3)), np.array([-1, 0]), "label -1 is not allowed"),
        (np.zeros((2, 3)), np.array([0.5, 1.0]), r"labels of shape \[2\] do not fit a model with 3 outputs"),
        (np.zeros((2, 3, 4)), np.array([0, 1]), r"the model answers 2 inputs with shape \[2, 3, 4\]"),
    ],
)
def test_a_model_that_does_not_fit_its_labels_is_refused(outputs: Any, targets: Any, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        adopted_of(outputs, targets)


def adopted_of(outputs: Any, targets: Any) -> Adopted:
    """A model that answers sample n with row n of `outputs`."""
    table = torch.tensor(outputs, dtype=torch.float32)

    class Table(torch.nn.Module):
        def forward(self, numbers: torch.Tensor) -> torch.Tensor:
            return table[numbers[:, 0].long()]

    numbers = np.arange(len(outputs), dtype=np.float32)[:, None]
    return adopt(Left(Table(), numbers, targets), "table", Export())


def test_the_best_classes_can_be_asked_for(run: RunScript, tmp_path: Path) -> None:
    run(PUBLISH, export={"topK": 1})
    names = [output.name for output in manifest(tmp_path).outputs]
    assert names == ["probabilities", "top_probabilities", "top_labels"]


def test_a_script_prepares_its_inputs_itself(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"export\.input: must be 'images'; a script's model takes what the script gives"
    ):
        parse({"model": {"script": "a.py"}, "export": {"input": "tensor"}}, tmp_path)


def test_a_file_of_an_earlier_run_is_not_taken_for_this_ones(run: RunScript, tmp_path: Path) -> None:
    run(MODEL + EXPORT, output=None)
    assert (tmp_path / "output/model.onnx").exists()
    with pytest.raises(UserError, match="left no model"):
        run("x = 1\n")
