"""Two classes from a single output, as with `nn.BCEWithLogitsLoss` and Keras's `Dense(1, "sigmoid")`.

A logit z of class 1 is equivalent to the logits [0, z]: their softmax and cross entropy are the sigmoid and binary
cross entropy of z. A probability p of class 1 is equivalent to [1 - p, p].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

_SHARES = frozenset(("sigmoid", "hardsigmoid"))
_SUMS = frozenset(("addmm", "linear", "mm", "bmm", "baddbmm", "matmul", "add", "convolution", "mkldnn_linear"))
"""Operators with unbounded results: the last step of a network that returns a logit."""
_VIEWS = frozenset(
    ("view", "_unsafe_view", "squeeze", "unsqueeze", "select", "slice", "expand", "permute", "transpose")
)
_PASSED_ON = _VIEWS | {"t", "transpose", "alias", "detach", "clone", "_to_copy", "clamp", "clamp_min", "clamp_max"}
"""Operators that keep the numbers unchanged, or clamp them."""


def rows(outputs: Tensor) -> Tensor:
    """Outputs as (N, K): (N,) becomes a column."""
    return outputs.unsqueeze(1) if outputs.ndim == 1 else outputs


def is_one(outputs: Tensor) -> bool:
    """Whether there is a single output per sample."""
    return outputs.ndim == 1 or (outputs.ndim == 2 and outputs.shape[1] == 1)


def logits(outputs: Tensor) -> Tensor:
    """Logits of both classes (N, 2) from that of class 1."""
    one = rows(outputs)
    return torch.cat([torch.zeros_like(one), one], dim=1)


def probabilities(outputs: Tensor) -> Tensor:
    """Probabilities of both classes (N, 2) from that of class 1."""
    one = rows(outputs)
    return torch.cat([1 - one, one], dim=1)


@torch.no_grad()
def is_a_probability(body: nn.Module, given: Tensor, answered: Tensor) -> bool:
    """Whether the single output of `body` is a probability, judged by its last operator and by its values, `answered`.

    `given`: a few samples to run through it.
    """
    if not bool(((answered >= 0) & (answered <= 1)).all()):
        return False
    with _Steps() as steps:
        last = steps.behind(body(given))
    # Other last operators (a mean of sigmoids, 1 - p) are judged by the values alone.
    return last in _SHARES or last not in _SUMS


class _Steps(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records which operator made each tensor."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._made: dict[int, tuple[str, Any]] = {}
        self._kept: list[Any] = []  # keeps tensors alive, so that no id is reused

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self._kept.append(result)
            self._made[id(result)] = func.overloadpacket.__name__.rstrip("_"), args[0] if args else None
        return result

    def behind(self, tensor: Any) -> str | None:
        """The operator that made the tensor's numbers; None if none was seen."""
        name = None
        while id(tensor) in self._made:
            name, source = self._made[id(tensor)]
            if name not in _PASSED_ON or source is tensor:
                return name
            tensor = source
        return name
