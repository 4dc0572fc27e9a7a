"""The artifact of a run: the exported file with its measurements, and the draft of the manifest."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from trainserve import store
from trainserve.models import export, float16, gathering, layers, parity, quantize, samples, scoring
from trainserve.models.config import Config, Precision
from trainserve.models.data.dataset import Dataset
from trainserve.models.errors import ParityFailed, WrongGraph
from trainserve.models.export import Exported
from trainserve.models.gates import Scores
from trainserve.models.graph import Graph
from trainserve.models.parity import Measured
from trainserve.models.program import Program, traced
from trainserve.models.session import Session

SAMPLES = "samples.npz"
_LOOKED_AT = 64
"""Samples used to find the layer that differs."""


@dataclass(frozen=True)
class Artifact:
    """A checked export that is not published yet."""

    graph: Graph
    exported: Exported
    session: Session
    compared: Measured
    precision: Precision
    scored: Scores | None
    """Scores of the exported file on the test split; None if neither gates nor precision require them."""

    def __str__(self) -> str:
        exported, compared = self.exported, self.compared
        return (
            f"opset {exported.opset}, IR {exported.ir_version}, {self.precision}, {exported.bytes} bytes; parity: "
            f"max abs {compared.max_abs:.2g}, max rel {compared.max_rel:.2g} on {len(compared.given)} samples"
            + (f"; test split: {self.scored}" if self.scored else "")
        )

    @property
    def program(self) -> Program:
        """The exported program, without weights."""
        return self.exported.program

    @property
    def bytes(self) -> int:
        """Size of the graph and its weights."""
        return self.exported.bytes

    def batch(self, size: int) -> Callable[[], object]:
        """A function that runs the graph in onnxruntime on a batch of `size` samples."""
        given = self.compared.given
        return self.session.prepared(given[np.arange(size) % len(given)])

    def record(self, folder: Path) -> Mapping[str, Path]:
        """Write the samples into `folder`; returns all files of the version by name."""
        samples.write(folder / SAMPLES, self.graph.signature, self.compared)
        return {**self.exported.files, SAMPLES: folder / SAMPLES}

    def draft(
        self, config: Config, dataset: Dataset, metrics: store.Metrics, energy: store.Energy
    ) -> store.ManifestDraft:
        """The manifest without the version's number."""
        signature, compared, job = self.graph.signature, self.compared, config.job
        if self.scored:
            found = {"exported_accuracy": self.scored.accuracy, "exported_loss": self.scored.loss}
            metrics = metrics.model_copy(update=found)
        return store.ManifestDraft(
            opset=self.exported.opset,
            ir_version=self.exported.ir_version,
            precision=self.precision,
            inputs=[signature.input],
            outputs=signature.outputs,
            labels=dataset.labels,
            preprocessing=store.Preprocessing(**export.preprocessing(self.graph)),
            metrics=metrics,
            parity=store.Parity(
                max_abs=compared.max_abs,
                max_rel=compared.max_rel,
                rtol=compared.tolerance.rtol,
                atol=compared.tolerance.atol,
                samples=len(compared.given),
            ),
            energy=energy,
            batching=gathering.of_file(self.exported.path),
            train_job=store.TrainJobRef(name=job.name, uid=job.uid, attempt=job.attempt),
            spec=config.spec(),
        )


def make(
    graph: Graph,
    dataset: Dataset,
    config: Config,
    folder: Path,
    batches: Sequence[int] = export.BATCHES,
    program: Program | None = None,
    *,
    optimised: bool = True,
) -> Artifact:
    """Export into `folder` and check the file with each batch size of `batches`.

    `program`: the program of the untrained network, which saves most of the time. `optimised`: whether the exporter
    simplifies the graph. Raises UserError, ParityFailed, or OSError if it cannot be written.
    """
    if program is not None:
        # A network's code may take another path once trained, which only the checks show: then it is exported again.
        with contextlib.suppress(ParityFailed, WrongGraph):
            return _made(graph, dataset, config, folder, batches, program, optimised)
    given = graph.given(dataset.test_images[:_LOOKED_AT])
    with layers.named(graph, given, partial(traced, graph, dataset, config.export.opset)):
        return _made(graph, dataset, config, folder, batches, None, optimised)


def _made(
    graph: Graph,
    dataset: Dataset,
    config: Config,
    folder: Path,
    batches: Sequence[int],
    program: Program | None,
    optimised: bool,
) -> Artifact:
    precision = config.export.precision
    write = quantize.export if precision == "int8" else export.export
    shaped = float16.halved(graph) if precision == "fp16" else graph
    path = folder / "model.onnx"
    exported = write(shaped, dataset, config.export.opset, path, batches, program, optimised=optimised)
    session = Session(exported.path)
    compared = parity.measure(graph, session, dataset, config.export)
    asked = precision != "fp32" or config.gates.max_accuracy_drop is not None
    scored = scoring.score(graph, session, dataset) if asked else None
    return Artifact(graph, exported, session, compared, precision, scored)
