"""One node as a rule sees it, and the words that rules share.

A rule is given a node with what is known of its inputs, and says where the rows lie in each output, or raises
NotRowwise with the reason. What it says of shapes is checked once more by the walk.
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
    """A node: its attributes, inputs (None: left out), the shapes of its outputs (None: not known), its opset."""

    kind: str
    attributes: Mapping[str, Any]
    ins: Sequence[Value | None]
    outs: Sequence[Shapes | None]
    opset: int

    def given(self, position: int) -> Value | None:
        """An input, None where it is left out."""
        return self.ins[position] if position < len(self.ins) else None

    def value(self, position: int) -> Value:
        """An input that must be there."""
        found = self.given(position)
        if found is None:
            raise NotRowwise(f"its input {position} is missing")
        return found

    def rows(self, position: int) -> Rows | None:
        """Where the rows lie in an input; None of one that is the same for all."""
        found = self.given(position)
        if found is not None and isinstance(found.state, Sized):
            raise NotRowwise("it computes with the number of rows")
        return found.state if found is not None and isinstance(found.state, Rows) else None

    def numbers(self, position: int, what: str) -> np.ndarray[Any, Any] | None:
        """The numbers of an input, None where it is left out. Raises NotRowwise where they are not known."""
        found = self.given(position)
        if found is None:
            return None
        if found.numbers is None:
            raise NotRowwise(f"its {what} are unknown")
        return found.numbers

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute's value."""
        return self.attributes.get(name, default)

    def axis(self, name: str, default: int, rank: int) -> int:
        """An attribute that is an axis, counted from the first one."""
        axis = int(self.attribute(name, default))
        return axis + rank if axis < 0 else axis

    def sources(self) -> frozenset[str]:
        """The inputs of the graph whose rows come together here."""
        found = (each.state.sources for each in self.ins if each is not None and isinstance(each.state, Rows))
        return frozenset().union(*found)

    def outer(self) -> int:
        """How often the whole batch is found along the rows' axis. Raises NotRowwise where inputs differ in that."""
        found = {each.state.outer for each in self.ins if each is not None and isinstance(each.state, Rows)}
        if len(found) > 1:
            raise NotRowwise(f"its inputs lay out the rows differently: {MIXES}")
        return found.pop() if found else 1

    def rows_in(self, axis: int) -> Rows:
        """The rows of all inputs, along one axis."""
        return Rows(axis, self.sources(), self.outer())

    def expect_free(self, *positions: int, what: str = "its weights depend on the rows") -> None:
        """Raises NotRowwise unless these inputs are the same for all rows."""
        for position in positions:
            if self.rows(position) is not None:
                raise NotRowwise(what)

    def all_in(self, axis: int) -> list[State]:
        """Every output has its rows along one axis."""
        return [self.rows_in(axis)] * len(self.outs)


Rule = Callable[[Op], list[State]]


def first(op: Op, position: int = 0) -> Rows:
    """Where the rows lie in an input that must hold them. Raises NotRowwise."""
    found = op.rows(position)
    if found is None:
        raise NotRowwise("its parameters depend on the rows")
    return found


def expect_other(axis: int, rank: int, axes: Sequence[int], what: str) -> None:
    """Raises NotRowwise where `axis`, that of the rows, is one of `axes`."""
    if axis in {each + rank if each < 0 else each for each in axes}:
        raise NotRowwise(f"{what} axis {axis}, the batch axis: {MIXES}")
