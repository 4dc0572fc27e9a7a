"""Whether requests to a graph may be joined into batches: proven from the graph, and tried.

Imported by training pods, which publish the answer with a version, and by serving, which asks again where nobody has.
Needs onnx and numpy; no torch, no onnxruntime.
"""

from trainserve.batching.proof import Batching, prove

__all__ = ["Batching", "prove"]
