"""Loads the exporter while the model trains: most of a first export is imports and building its operator table."""

from __future__ import annotations

import contextlib
import importlib
import logging
import threading

_MODULES = ("torch._dynamo", "torch.export._trace", "torch.onnx._internal.exporter._core", "onnxruntime", "onnx")


def start() -> threading.Thread:
    """Begin in a daemon thread; importing is safe beside training and changes no result."""
    thread = threading.Thread(target=_load, name="warm-up", daemon=True)
    thread.start()
    return thread


def _load() -> None:
    quiet()
    # Private names may move; then nothing is saved, and the export imports what it needs itself.
    with contextlib.suppress(ImportError, AttributeError, TypeError):
        for module in _MODULES:
            importlib.import_module(module)
        registration = importlib.import_module("torch.onnx._internal.exporter._registration")
        registration.ONNXRegistry.from_torchlib(opset_version=18)


def quiet() -> None:
    """The exporter warns that torchvision's operators are not there; nothing here uses them."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
