"""Batching: whether requests to a graph may be joined into one batch, by a proof from the graph and by a trial run.

Training pods publish the result with each version; serving computes it for models that come without.
Needs onnx and numpy; no torch, no onnxruntime.
"""

from trainserve.batching.proof import Batching, prove

__all__ = ["Batching", "prove"]
