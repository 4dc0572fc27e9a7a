"""A node as passed to rules, and the checks that rules share.

A rule takes a node with its inputs' known values and returns the batch axis of each output, or raises NotRowwise with
the reason. A rule's docstring describes the operator. The walk checks the result against the inferred shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainserve.batching.values import NotRowwise, Rows, Shapes, Sized, State, Value

MIXES = "rows of different requests would be mixed"


@dataclass(frozen=True)
class Op:
    """A node: attributes, inputs (None: omitted), shapes of its outputs (None: unknown), opset."""

    kind: str
    attributes: Mapping[str, Any]
    ins: Sequence[Value | None]
    outs: Sequence[Shapes | None]
    opset: int

    def given(self, position: int) -> Value | None:
        """The input at `position`; None if omitted."""
        return self.ins[position] if position < len(self.ins) else None

    def value(self, position: int) -> Value:
        """The input at `position`. Raises NotRowwise if it is omitted."""
        found = self.given(position)
        if found is None:
            raise NotRowwise(f"its input {position} is missing")
        return found

    def rows(self, position: int) -> Rows | None:
        """The rows of the input at `position`; None if it does not depend on the batch."""
        found = self.given(position)
        if found is not None and isinstance(found.state, Sized):
            raise NotRowwise("it computes with the number of rows")
        return found.state if found is not None and isinstance(found.state, Rows) else None

    def numbers(self, position: int, what: str) -> np.ndarray[Any, Any] | None:
        """The constant value of the input at `position`, None if omitted; `what` names it in the error.

        Raises NotRowwise if it is unknown.
        """
        found = self.given(position)
        if found is None:
            return None
        if found.numbers is None:
            raise NotRowwise(f"its {what} are unknown")
        return found.numbers

    def attribute(self, name: str, default: Any = None) -> Any:
        """The value of attribute `name`."""
        return self.attributes.get(name, default)

    def axis(self, name: str, default: int, rank: int) -> int:
        """Return the axis in attribute `name`, counted from 0, of a tensor of this `rank`."""
        axis = int(self.attribute(name, default))
        return axis + rank if axis < 0 else axis

    def sources(self) -> frozenset[str]:
        """The graph inputs whose rows this node combines."""
        found = (each.state.sources for each in self.ins if each is not None and isinstance(each.state, Rows))
        return frozenset().union(*found)

    def outer(self) -> int:
        """`Rows.outer` of the inputs. Raises NotRowwise if they differ."""
        found = {each.state.outer for each in self.ins if each is not None and isinstance(each.state, Rows)}
        if len(found) > 1:
            raise NotRowwise(f"its inputs lay out the rows differently: {MIXES}")
        return found.pop() if found else 1

    def rows_in(self, axis: int) -> Rows:
        """The combined rows of all inputs, along `axis`."""
        return Rows(axis, self.sources(), self.outer())

    def expect_free(self, *positions: int, what: str = "its weights depend on the rows") -> None:
        """Raise NotRowwise, with the reason `what`, if an input at `positions` depends on the rows."""
        for position in positions:
            if self.rows(position) is not None:
                raise NotRowwise(what)

    def all_in(self, axis: int) -> list[State]:
        """The state of all outputs when their batch axis is `axis`."""
        return [self.rows_in(axis)] * len(self.outs)


Rule = Callable[[Op], list[State]]


def first(op: Op, position: int = 0) -> Rows:
    """The rows of the input at `position`. Raises NotRowwise if it holds none."""
    found = op.rows(position)
    if found is None:
        raise NotRowwise("its parameters depend on the rows")
    return found


def expect_other(axis: int, rank: int, axes: Sequence[int], what: str) -> None:
    """Raise NotRowwise if the batch axis, `axis`, is one of `axes`; `what` begins the reason."""
    if axis in {each + rank if each < 0 else each for each in axes}:
        raise NotRowwise(f"{what} axis {axis}, the batch axis: {MIXES}")
