"""A model on this machine's disk, as everything that serves, checks or measures it sees it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trainserve.store import Manifest, Preprocessing, Tensor
from trainserve.store.manifest import digest

SAMPLES = "samples.npz"


@dataclass(frozen=True)
class Servable:
    """One graph whose bytes were checked: a version of the store, or a lone .onnx file.

    `files` are the graph and its external data, relative to `folder`; in the shapes of `inputs` and `outputs` -1 is an
    axis of any length, the first one the batch. `labels` and `preprocessing` are empty and None where nobody said.
    """

    name: str
    """Under which it is served unless the caller says otherwise."""
    folder: Path
    digest: str
    """sha256:<hex> of manifest.json, or of the lone file."""
    files: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    labels: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    graph: str = "model.onnx"
    opset: int | None = None
    ir_version: int | None = None
    manifest: Manifest | None = None

    @classmethod
    def of_version(cls, folder: Path) -> Servable:
        """Of a folder that `store.fetch` filled. Raises OSError, StoreError."""
        path = folder / "manifest.json"
        content = path.read_bytes()
        manifest = Manifest.from_bytes(content, path)
        return cls(
            name=manifest.model,
            folder=folder,
            digest=digest(content),
            files=tuple(name for name in manifest.files if name != SAMPLES),
            inputs=tuple(manifest.inputs),
            outputs=tuple(manifest.outputs),
            labels=tuple(manifest.labels),
            preprocessing=manifest.preprocessing,
            opset=manifest.opset,
            ir_version=manifest.ir_version,
            manifest=manifest,
        )

    @property
    def samples(self) -> Path | None:
        """The recorded samples, where there are any."""
        path = self.folder / SAMPLES
        return path if path.is_file() else None

    @property
    def batched(self) -> bool:
        """Whether every tensor has a batch axis, so that requests can be gathered."""
        return all(tensor.shape[:1] == [-1] for tensor in (*self.inputs, *self.outputs))
