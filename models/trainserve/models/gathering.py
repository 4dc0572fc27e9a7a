"""The manifest's `batching`: whether a server may join requests to an exported file."""

from __future__ import annotations

from pathlib import Path

from trainserve import store
from trainserve.batching import prove


def of_file(path: Path) -> store.Batching:
    """Proof from the graph at `path`; parity has already compared batches of several sizes."""
    import onnx

    found = prove(onnx.load(path, load_external_data=False))
    return store.Batching(axis="first" if found.first else "none", reason=found.reason)
