"""Whether a server may join requests to an exported file: what the manifest says of its batch."""

from __future__ import annotations

from pathlib import Path

from trainserve import store
from trainserve.batching import prove


def of_file(path: Path) -> store.Batching:
    """Proven from the graph. That the file answers alike in batches of several sizes, parity has shown before."""
    import onnx

    found = prove(onnx.load(path, load_external_data=False))
    return store.Batching(axis="first" if found.first else "none", reason=found.reason)
