"""Loads the exporter while the model trains: most of a first export is imports and building its operator table.

And then what draws the report, which the export need not wait for.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import threading

_MODULES = (
    "torch.onnx._internal.exporter._compat",
    "torch.onnx._internal.exporter._core",
    "torch.export._trace",
    "torch._export.passes.replace_with_hop_pass_util",
    "torch._functorch._aot_autograd.subclass_parametrization",
    "torch._inductor.sizevars",
    "torch._inductor.fx_passes.dedupe_symint_uses",
    "torch._subclasses.schema_check_mode",
    "torch.fx.experimental.validator",
    "sympy.tensor.tensor",
    "onnx",
    "onnxruntime",
)
"""What `python -X importtime` shows a first export to import, torch 2.13."""


def start() -> threading.Thread:
    """Begin in a daemon thread.

    To be called once the first training step is done and joined before the export: in between the main thread imports
    nothing, and so never meets this thread in one of torch's circular imports.
    """
    thread = threading.Thread(target=_load, name="warm-up", daemon=True)
    thread.start()
    return thread


def start_drawing(exporter: threading.Thread) -> threading.Thread:
    """Go on with what the report is drawn with, once `exporter` is loaded: it has nothing in common with torch."""
    thread = threading.Thread(target=_load_drawing, args=(exporter,), name="warm-up", daemon=True)
    thread.start()
    return thread


def _load_drawing(exporter: threading.Thread) -> None:
    exporter.join()
    # Where it cannot be loaded the report itself will say so.
    with contextlib.suppress(Exception):
        importlib.import_module("trainserve.models.report.page")
        importlib.import_module("trainserve.models.report.figures").load()
        importlib.import_module("jinja2")
        importlib.import_module("PIL.Image")


def _load() -> None:
    quiet()
    # Private names may move, and an import may meet another; then nothing is saved, and the export imports for itself.
    for module in _MODULES:
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    with contextlib.suppress(Exception):
        registration = importlib.import_module("torch.onnx._internal.exporter._registration")
        registration.ONNXRegistry.from_torchlib(opset_version=18)


def quiet() -> None:
    """The exporter warns that torchvision's operators are not there; nothing here uses them."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
