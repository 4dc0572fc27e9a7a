"""Two classes told by one output, as `nn.BCEWithLogitsLoss` and Keras's `Dense(1, "sigmoid")` have it.

A logit z of class 1 stands for the logits [0, z]: softmax and cross-entropy of these are sigmoid and binary
cross-entropy of z. A probability p of class 1 stands for [1 - p, p].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

_SHARES = frozenset(("sigmoid", "hardsigmoid"))
_SUMS = frozenset(("addmm", "linear", "mm", "bmm", "baddbmm", "matmul", "add", "convolution", "mkldnn_linear"))
"""Operators that give a number of any size: the last step of a network that gives a logit."""
_VIEWS = frozenset(
    ("view", "_unsafe_view", "squeeze", "unsqueeze", "select", "slice", "expand", "permute", "transpose")
)
_PASSED_ON = _VIEWS | {"t", "transpose", "alias", "detach", "clone", "_to_copy", "clamp", "clamp_min", "clamp_max"}
"""Operators that leave the numbers what they are."""


def rows(outputs: Tensor) -> Tensor:
    """(N, K): numbers (N,), one for each sample, become a column."""
    return outputs.unsqueeze(1) if outputs.ndim == 1 else outputs


def is_one(outputs: Tensor) -> bool:
    """Whether there is one output for each sample."""
    return outputs.ndim == 1 or (outputs.ndim == 2 and outputs.shape[1] == 1)


def logits(outputs: Tensor) -> Tensor:
    """Of both classes, from the one of class 1."""
    one = rows(outputs)
    return torch.cat([torch.zeros_like(one), one], dim=1)


def probabilities(outputs: Tensor) -> Tensor:
    """Of both classes, from the one of class 1."""
    one = rows(outputs)
    return torch.cat([1 - one, one], dim=1)


@torch.no_grad()
def is_a_probability(body: nn.Module, given: Tensor, answered: Tensor) -> bool:
    """Whether the one output of `body` is a probability: told by its last step, and by what it `answered`.

    `given` are two samples or so, which are sent through it.
    """
    if not bool(((answered >= 0) & (answered <= 1)).all()):
        return False
    with _Steps() as steps:
        last = steps.behind(body(given))
    # What ends otherwise (a mean of sigmoids, 1 - p) is known by its numbers alone.
    return last in _SHARES or last not in _SUMS


class _Steps(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Remembers by which operator each tensor came to be."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._made: dict[int, tuple[str, Any]] = {}
        self._kept: list[Any] = []  # an id is a tensor's as long as that lives

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self._kept.append(result)
            self._made[id(result)] = func.overloadpacket.__name__.rstrip("_"), args[0] if args else None
        return result

    def behind(self, tensor: Any) -> str | None:
        """The operator that made the tensor's numbers; None where no operator was seen."""
        name = None
        while id(tensor) in self._made:
            name, source = self._made[id(tensor)]
            if name not in _PASSED_ON or source is tensor:
                return name
            tensor = source
        return name
