"""What a run hands to the store: the exported file with all that was measured of it, and the manifest's draft."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from trainserve import store
from trainserve.models import export, gathering, half, layers, parity, quantize, samples, scoring
from trainserve.models.config import Config, Export, Precision
from trainserve.models.data.dataset import Dataset
from trainserve.models.export import Exported
from trainserve.models.gates import Scores
from trainserve.models.graph import Graph
from trainserve.models.parity import Measured
from trainserve.models.session import Session

SAMPLES = "samples.npz"
_LOOKED_AT = 64
"""Samples that a layer is looked for with."""


@dataclass(frozen=True)
class Artifact:
    """Checked, and not published yet."""

    graph: Graph
    exported: Exported
    session: Session
    compared: Measured
    precision: Precision
    scored: Scores | None
    """Of the exported file on the test split, where the gates ask for it."""

    def __str__(self) -> str:
        exported, compared = self.exported, self.compared
        return (
            f"opset {exported.opset}, IR {exported.ir_version}, {self.precision}, {exported.bytes} bytes; parity: "
            f"max abs {compared.max_abs:.2g}, max rel {compared.max_rel:.2g} on {len(compared.given)} samples"
            + (f"; test split: {self.scored}" if self.scored else "")
        )

    @property
    def bytes(self) -> int:
        """Of the graph and its weights."""
        return self.exported.bytes

    def batch(self, size: int) -> Callable[[], object]:
        """What runs the graph once on `size` of the samples, through onnxruntime."""
        given = self.compared.given
        return self.session.prepared(given[np.arange(size) % len(given)])

    def record(self, folder: Path) -> Mapping[str, Path]:
        """Write the samples into `folder`; all files of the version, by their names in it."""
        samples.write(folder / SAMPLES, self.graph.signature, self.compared)
        return {**self.exported.files, SAMPLES: folder / SAMPLES}

    def draft(
        self, config: Config, dataset: Dataset, metrics: store.Metrics, energy: store.Energy
    ) -> store.ManifestDraft:
        """The manifest before the version has a number."""
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
    graph: Graph, dataset: Dataset, config: Config, folder: Path, batches: Sequence[int] = export.BATCHES
) -> Artifact:
    """Export into `folder` and check, with each of `batches` once.

    Raises UserError, ParityFailed, or OSError when it cannot be written.
    """
    precision, opset = config.export.precision, config.export.opset
    given = graph.given(dataset.test_images[:_LOOKED_AT])
    with layers.named(graph, given, partial(export.program, graph, dataset, opset, optimize=False)):
        exported = written(graph, dataset, config.export, folder / "model.onnx", batches)
        session = Session(exported.path)
        compared = parity.measure(graph, session, dataset, config.export)
    asked = precision != "fp32" or config.gates.max_accuracy_drop is not None
    scored = scoring.score(graph, session, dataset) if asked else None
    return Artifact(graph, exported, session, compared, precision, scored)


def written(graph: Graph, dataset: Dataset, config: Export, path: Path, batches: Sequence[int]) -> Exported:
    """The graph as a file in the precision that was asked for. Raises as `make`."""
    match config.precision:
        case "fp32":
            return export.export(graph, dataset, config.opset, path, batches)
        case "fp16":
            return export.export(half.halved(graph), dataset, config.opset, path, batches)
        case "int8":
            return quantize.export(graph, dataset, config.opset, path, batches)
