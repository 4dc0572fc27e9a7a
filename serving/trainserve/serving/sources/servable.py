"""A checked model on this machine's disk, for everything that serves, verifies or measures it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from trainserve.api.triton import BatchAxis
from trainserve.batching.proof import fixed_axis
from trainserve.serving.sources import onnx_graph
from trainserve.serving.sources.onnx_graph import Graph
from trainserve.store import REPORT, Batching, Manifest, Preprocessing, Tensor
from trainserve.store.manifest import digest

SAMPLES = "samples.npz"


@dataclass(frozen=True)
class Servable:
    """One graph whose bytes are checked: a version of the store, or a lone .onnx file.

    `files` are the graph and its external data, relative to `folder`. In the shapes of `inputs` and `outputs`, -1 is an
    axis of any length. `labels` and `preprocessing` are empty and None if unknown.
    """

    name: str
    """The default name to serve it under."""
    folder: Path
    digest: str
    """sha256:<hex> of manifest.json, or of the lone file (with external data: of the listing of its files)."""
    files: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    labels: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    graph: str = "model.onnx"
    opset: int | None = None
    ir_version: int | None = None
    manifest: Manifest | None = None
    batch_axis: BatchAxis = "auto"
    """The settings' batchAxis."""
    hold: object = field(default=None, repr=False, compare=False)
    """Keeps the cache from evicting it while this object exists."""

    @classmethod
    def of_version(cls, folder: Path) -> Servable:
        """Read a version's folder, whose bytes are checked. Raises OSError, StoreError."""
        path = folder / "manifest.json"
        content = path.read_bytes()
        manifest = Manifest.from_bytes(content, path)
        return cls(
            name=manifest.model,
            folder=folder,
            digest=digest(content),
            files=tuple(name for name in manifest.files if name not in (SAMPLES, REPORT)),
            inputs=tuple(manifest.inputs),
            outputs=tuple(manifest.outputs),
            labels=tuple(manifest.labels),
            preprocessing=manifest.preprocessing,
            opset=manifest.opset,
            ir_version=manifest.ir_version,
            manifest=manifest,
        )

    @classmethod
    def of_graph(cls, name: str, path: Path, digest: str, graph: Graph, hold: object = None) -> Servable:
        """Describe a lone .onnx file."""
        return cls(
            name=name,
            folder=path.parent,
            digest=digest,
            files=(path.name, *graph.external),
            inputs=graph.inputs,
            outputs=graph.outputs,
            labels=graph.labels,
            preprocessing=graph.preprocessing,
            graph=path.name,
            opset=graph.opset,
            ir_version=graph.ir_version,
            hold=hold,
        )

    def at(self, folder: Path) -> Servable:
        """Return the same model in `folder`, which has a copy of it."""
        return replace(self, folder=folder, hold=None)

    @property
    def samples(self) -> Path | None:
        """The file of recorded samples; None if there is none."""
        path = self.folder / SAMPLES
        return path if self.manifest is not None and path.is_file() else None

    @property
    def labelled_output(self) -> str | None:
        """The first output whose last axis has one value per label; None without labels."""
        fitting = (tensor.name for tensor in self.outputs if tensor.shape[-1:] == [len(self.labels)])
        return next(fitting, None) if self.labels else None

    def asked(self, batch_axis: BatchAxis) -> Servable:
        """Return the same model with its settings' batchAxis."""
        return self if batch_axis == self.batch_axis else replace(self, batch_axis=batch_axis)

    @property
    def batched(self) -> bool:
        """Whether requests are batched: joined along the first axis of every tensor."""
        return self.batching.axis == "first"

    @cached_property
    def batching(self) -> Batching:
        """Whether requests are batched, and why: by the settings, else by the manifest, else by proof.

        Without a proof they are not: requests that are joined along an axis that is not the batch axis get each other's
        answers, without any error.
        """
        if self.batch_axis == "none":
            return Batching(axis="none", reason="the settings say so (batchAxis: none)")
        if why := self.unbatchable:
            return Batching(axis="none", reason=why)
        if self.batch_axis == "first":
            return Batching(axis="first", reason="the settings say so (batchAxis: first)")
        if self.manifest is not None and self.manifest.batching is not None:
            return self.manifest.batching
        return onnx_graph.batching(self.folder / self.graph, self.digest)

    @property
    def unbatchable(self) -> str | None:
        """Why the shapes of inputs and outputs rule out batching; None if they do not."""
        if not self.inputs:
            return "the graph has no inputs"
        inputs, outputs = (((each.name, each.shape) for each in tensors) for tensors in (self.inputs, self.outputs))
        return fixed_axis(inputs, outputs)
