"""onnx's own backend tests, served: the server must answer what onnxruntime answers, and give reasons for refusals.

The cases ship with onnx: the graphs of its PyTorch exporters' tests and of whole small models as files, those of its
operators as programs. `python -m tests.serving.devserver.onnx_suite` runs all of them and prints every case that is not
answered alike.
"""

from __future__ import annotations

import contextlib
import http.client
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.loader import load_model_tests

from trainserve.serving.devserver import runtime
from trainserve.serving.devserver.server import DevelopmentServer
from trainserve.serving.pod.probe import Probe
from trainserve.serving.protocol.infer import Arrays, InferenceError, infer
from trainserve.serving.protocol.triton_types import UnservableModel
from trainserve.serving.repository.repository import Entry, Folder, layout, write_folders
from trainserve.serving.repository.settings import Settings
from trainserve.serving.samples.recorded import Recorded
from trainserve.serving.sources.source import open_servable
from trainserve.serving.verification.description import Endpoint
from trainserve.store import StoreError

KINDS = ("pytorch-converted", "pytorch-operator", "simple")


@dataclass(frozen=True)
class Case:
    """An ONNX graph and its inputs, in the order of the graph's inputs."""

    name: str
    model: onnx.ModelProto
    inputs: list[Any]


@dataclass
class Outcome:
    """Results of a run. `refused`, `failed` and `wrong` map a case's name to the message."""

    answered: int = 0
    """Cases that onnxruntime can run; the others are skipped."""
    alike: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)


def of_files() -> Iterator[Case]:
    """Yield the cases stored as files, with the first set of inputs of each."""
    for kind in KINDS:
        for test in load_model_tests(kind=kind):
            assert test.model_dir is not None
            model = onnx.load(Path(test.model_dir) / "model.onnx")
            paths = sorted(
                (Path(test.model_dir) / "test_data_set_0").glob("input_*.pb"), key=lambda path: int(path.stem[6:])
            )
            yield Case(test.name, model, [_loaded(path, model, number) for number, path in enumerate(paths)])


def of_operators(every: int) -> Iterator[Case]:
    """Yield every `every`-th operator case, in the order of their names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = sorted(collect_testcases(None), key=lambda case: str(case.name))
    for case in cases[::every]:
        if case.model is not None and case.data_sets:
            yield Case(case.name, case.model, list(case.data_sets[0][0]))


def _loaded(path: Path, model: onnx.ModelProto, number: int) -> Any:
    """Return the tensor in the file, or None for other kinds of value, which no server accepts."""
    if model.graph.input[number].type.WhichOneof("value") != "tensor_type":
        return None
    return numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes()))


def expected(case: Case) -> tuple[Arrays, Arrays] | None:
    """Return the inputs and onnxruntime's outputs by name, or None if onnxruntime cannot run the case."""
    try:
        session = onnxruntime.InferenceSession(case.model.SerializeToString(), providers=["CPUExecutionProvider"])
        inputs = dict(zip([each.name for each in case.model.graph.input], case.inputs, strict=False))
        given = {each.name: inputs[each.name] for each in session.get_inputs()}
        outputs = session.run(None, given)
    except Exception:  # onnxruntime's exceptions have no common base class
        return None
    return given, {each.name: value for each, value in zip(session.get_outputs(), outputs, strict=True)}


def run(cases: Iterable[Case], command: Path, scratch: Path) -> Outcome:
    """Serve all cases from one server, probe each as `trainserve serve` does, and send each case's request."""
    outcome, asked, folders = Outcome(), {}, []
    (scratch / "graphs").mkdir()
    for case in cases:
        if (found := expected(case)) is None:
            continue
        outcome.answered += 1
        try:
            folders += _laid_out(case, scratch / "graphs" / f"{case.name}.onnx")
            asked[case.name] = found
        except (StoreError, UnservableModel, ValueError) as error:
            outcome.refused[case.name] = str(error)
    write_folders(folders, scratch / "models", ours=True)
    flags = ("--disable-auto-complete-config", "--exit-on-error=false", "--strict-readiness=false", "--log-info=false")
    server = DevelopmentServer(command, scratch / "models", scratch / "log", *flags)
    server.start()
    try:
        for name, (inputs, outputs) in asked.items():
            _judge(server, name, inputs, outputs, outcome)
    finally:
        server.kill()
    return outcome


def _laid_out(case: Case, path: Path) -> list[Folder]:
    path.write_bytes(case.model.SerializeToString())
    return layout([Entry(case.name, open_servable(str(path)), Settings())])


def _judge(server: DevelopmentServer, name: str, inputs: Arrays, outputs: Arrays, outcome: Outcome) -> None:
    probe = Probe("127.0.0.1", server.http_port, name, None)
    try:
        probe.verify()
    except (InferenceError, OSError) as error:
        outcome.failed[name] = f"never ready: {error}"
        return
    alive, words = probe.alive()
    if not alive:
        outcome.failed[name] = f"dead at once: {words}"
        return
    described = Endpoint(server.url).describe(name)
    recorded = Recorded(_stacked(inputs), _stacked(outputs), rtol=1e-3, atol=1e-4, whole=True)
    sent = recorded.declared({each: shape for each, (_, shape) in (described.inputs or {}).items()}).sent(
        np.zeros(1, int)
    )
    connection = http.client.HTTPConnection(server.url, timeout=30)
    try:
        answer = infer(connection, name, sent, recorded.names)
    except (InferenceError, OSError) as error:
        outcome.failed[name] = f"not answered: {error}"
        return
    finally:
        connection.close()
    found = recorded.compare(recorded.joined([answer]))
    if found.matches:
        outcome.alike += 1
    else:
        outcome.wrong[name] = found.message


def _stacked(arrays: Arrays) -> Arrays:
    return {name: _bytes(np.asarray(array))[None] for name, array in arrays.items()}


def _bytes(array: np.ndarray) -> np.ndarray:
    """Convert strings to bytes, as a server expects them."""
    if array.dtype.kind not in "OU":
        return array
    found = np.empty(array.size, object)
    found[:] = [str(each).encode() for each in array.flat]
    return found.reshape(array.shape)


def main() -> None:
    """Run every case, or every n-th as given on the command line, and print what was not answered alike."""
    onnxruntime.set_default_logger_severity(4)
    every = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stderr(sys.stdout):
        outcome = run([*of_files(), *of_operators(every)], runtime.install(), Path(scratch))
    for what in ("refused", "failed", "wrong"):
        for name, words in sorted(getattr(outcome, what).items()):
            print(f"{what}  {name}: {' '.join(words.split())[:300]}")
    print(
        f"{outcome.alike} of {outcome.answered} that onnxruntime answers are answered alike; "
        f"{len(outcome.refused)} refused, {len(outcome.failed)} failed, {len(outcome.wrong)} wrong"
    )


if __name__ == "__main__":
    main()
