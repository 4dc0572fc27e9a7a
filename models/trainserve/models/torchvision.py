"""Make `import torchvision` work if its compiled operators cannot be loaded.

PyPI's torchvision is built for torch with CUDA. With a CPU build of torch its operators do not load, which torchvision
tolerates until it registers shape inference for `nms`: "operator torchvision::nms does not exist". Declaring the two
operators without an implementation is enough to import it. Calling one still fails, with torchvision's own error;
transforms, data sets and classifiers need none. If the operators load, they must not be declared again.
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
    """Declare the operators when torchvision is imported; until then torch is not loaded."""
    before_import("torchvision", declare_operators)


@functools.cache
def declare_operators() -> torch.library.Library | None:
    """Declare the operators before torchvision is imported. Returns the library that holds them, None if not needed."""
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
    """Whether torchvision's operators load; torchvision loading them again does nothing."""
    import torch

    for binary in (file for folder in folders for file in folder.glob("_C*.so")):
        try:
            torch.ops.load_library(str(binary))  # type: ignore[no-untyped-call]
        except OSError:
            continue
        return True
    return False
