"""Lets `import torchvision` succeed where its compiled operators cannot be loaded.

PyPI's torchvision is built against CUDA's torch. On a CPU build of torch its operators do not load, which torchvision
itself forgives, until it registers what `nms` gives for shapes: "operator torchvision::nms does not exist". Declaring
the two operators it asks for, without any code behind them, is enough for it to be imported. A call of one would still
fail, and torchvision says so in its own words; transforms, data sets and classifiers need none. Where the operators do
load they must not be declared a second time.
"""

from __future__ import annotations

import functools
from importlib.util import find_spec
from typing import TYPE_CHECKING

from trainserve.models.imports import before_import

if TYPE_CHECKING:
    from pathlib import Path

    import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def declare_at_import() -> None:
    """Declare the operators once somebody imports torchvision; until then not even torch is loaded for it."""
    before_import("torchvision", declare_operators)


@functools.cache
def declare_operators() -> torch.library.Library | None:
    """To be called before torchvision is imported. Gives what holds the declarations, None where none were needed."""
    from pathlib import Path

    import torch

    package = find_spec("torchvision")
    if package is None or _load([Path(folder) for folder in package.submodule_search_locations or ()]):
        return None
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    return library


def _load(folders: list[Path]) -> bool:
    """Whether torchvision's own operators are there; loading them a second time, as it will, does nothing."""
    import torch

    for binary in (file for folder in folders for file in folder.glob("_C*.so")):
        try:
            torch.ops.load_library(str(binary))  # type: ignore[no-untyped-call]
        except OSError:
            continue
        return True
    return False
