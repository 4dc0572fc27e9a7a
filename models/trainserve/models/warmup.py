"""Preload the exporter while the model trains: a first export mostly imports and builds its operator table.

Then preload what draws the report, for which the export does not wait.
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
"""Modules that a first export imports, by `python -X importtime`, torch 2.13."""


def start() -> threading.Thread:
    """Start preloading the exporter in a daemon thread.

    Call it after the first training step and join it before the export: in between the main thread imports nothing, so
    that the two cannot deadlock in torch's circular imports.
    """
    thread = threading.Thread(target=_load, name="warm-up", daemon=True)
    thread.start()
    return thread


def start_drawing(exporter: threading.Thread) -> threading.Thread:
    """Start preloading the report's libraries in a daemon thread, after `exporter` has finished."""
    thread = threading.Thread(target=_load_drawing, args=(exporter,), name="warm-up", daemon=True)
    thread.start()
    return thread


def _load_drawing(exporter: threading.Thread) -> None:
    exporter.join()
    # If it cannot be loaded, the report reports that itself.
    with contextlib.suppress(Exception):
        importlib.import_module("trainserve.models.report.page")
        importlib.import_module("trainserve.models.report.figures").load()
        importlib.import_module("jinja2")
        importlib.import_module("PIL.Image")


def _load() -> None:
    quiet()
    # Private names may move, and imports may collide; then nothing is saved, and the export imports them itself.
    for module in _MODULES:
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    with contextlib.suppress(Exception):
        registration = importlib.import_module("torch.onnx._internal.exporter._registration")
        registration.ONNXRegistry.from_torchlib(opset_version=18)


def quiet() -> None:
    """Silence the exporter's warning about missing torchvision operators, which are not used."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
