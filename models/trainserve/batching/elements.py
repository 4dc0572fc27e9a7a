"""Rules of operators that treat each element, each entry of the first axis, or each axis that they name, alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainserve.batching.op import MIXES, Op, Rule, expect_other, first
from trainserve.batching.values import NotRowwise, Rows, State

# Each element alone.


def elementwise(op: Op) -> list[State]:
    """Broadcasts its inputs against each other."""
    return [_broadcast(op, range(len(op.ins)))] * len(op.outs)


def _broadcast(op: Op, positions: Sequence[int]) -> Rows:
    given = [(position, op.value(position)) for position in positions if op.given(position) is not None]
    rank = max(value.rank for _, value in given)
    axes = {found.axis + rank - value.rank for position, value in given if (found := op.rows(position)) is not None}
    if len(axes) > 1:
        raise NotRowwise(f"the batch axis differs between its inputs ({', '.join(map(str, sorted(axes)))}): {MIXES}")
    if not axes:
        raise NotRowwise("none of its inputs holds rows")
    (axis,) = axes
    for position, value in given:
        assert value.shapes is not None
        own = axis - (rank - value.rank)
        if op.rows(position) is None and own >= 0 and any(shape[own] != 1 for shape in value.shapes):
            raise NotRowwise(f"a constant has {value.shapes[-1][own]} entries along the batch axis")
    return op.rows_in(axis)


def unary(op: Op) -> list[State]:
    """Treats each element of its first input alone; the others are parameters for all."""
    op.expect_free(*range(1, len(op.ins)))
    return op.all_in(first(op).axis)


def like(op: Op) -> list[State]:
    """Treats each element of its first input alone, and asks nothing of the others but their type."""
    return op.all_in(first(op).axis)


def where_first_and(*positions: int) -> Rule:
    """Broadcasts the inputs at these positions; the others, scales and zero points, are parameters for all."""

    def rule(op: Op) -> list[State]:
        op.expect_free(*(each for each in range(len(op.ins)) if each not in positions))
        return [_broadcast(op, positions)] * len(op.outs)

    return rule


# Each row alone where rows lie along the first axis.


def first_axis(*positions: int) -> Rule:
    """Treats every entry of axis 0 alone; only the inputs at `positions` may hold rows."""

    def rule(op: Op) -> list[State]:
        op.expect_free(*(each for each in range(len(op.ins)) if each not in positions))
        for position in positions:
            found = op.rows(position)
            if found is not None and found.axis != 0:
                raise NotRowwise(f"it works along axis {found.axis}, the batch axis: {MIXES}")
            if (
                found is None
                and op.given(position) is not None
                and op.value(position).rank
                and (any(shape[0] != 1 for shape in op.value(position).shapes or ()))
            ):
                raise NotRowwise("a constant has several entries along the batch axis")
        return op.all_in(0)

    return rule


def table(op: Op) -> list[State]:
    """Takes a table of one sample a row, as the operators of ai.onnx.ml do; of one axis it makes a single sample."""
    if op.value(0).rank < 2:
        raise NotRowwise("it treats a tensor of rank 1 as a single sample")
    return first_axis(0)(op)


def batch_normalization(op: Op) -> list[State]:
    """Normalises with fixed statistics, unless it trains."""
    training = bool(op.attribute("training_mode", 0))
    if op.opset < 14:
        training = not op.attribute("is_test", 0) if op.opset < 7 else len([each for each in op.outs if each]) > 1
    if training:
        raise NotRowwise(f"it normalises with the statistics of the whole batch: {MIXES}")
    return first_axis(0)(op)


def dropout(op: Op) -> list[State]:
    """Passes on what it takes, unless it trains."""
    training = op.numbers(2, "training mode") if len(op.ins) > 2 else None
    if (training is not None and training.any()) or (op.opset < 7 and not op.attribute("is_test", 0)):
        raise NotRowwise("it drops elements at random")
    return op.all_in(first(op).axis)


# Along axes that the node names.


def reduction(op: Op) -> list[State]:
    """Reduces over `axes`, an attribute or the second input; by default over all."""
    rows, rank = first(op), op.value(0).rank
    named = op.attribute("axes") if len(op.ins) < 2 else op.numbers(1, "axes")
    axes = [] if named is None else [int(each) % rank for each in np.asarray(named).reshape(-1)]
    if not axes:
        if op.attribute("noop_with_empty_axes", 0):
            return op.all_in(rows.axis)
        axes = list(range(rank))
    return _reduced(op, rows, axes)


def _reduced(op: Op, rows: Rows, axes: Sequence[int]) -> list[State]:
    if rows.axis in axes:
        raise NotRowwise(f"it reduces over axis {rows.axis}, the batch axis: {MIXES}")
    kept = op.attribute("keepdims", 1)
    return op.all_in(rows.axis if kept else rows.axis - sum(axis < rows.axis for axis in axes))


def arg_reduction(op: Op) -> list[State]:
    """Reduces over `axis`, by default the first one."""
    return _reduced(op, first(op), [op.axis("axis", 0, op.value(0).rank)])


def over(default: int) -> Rule:
    """Works along `axis` alone."""

    def rule(op: Op) -> list[State]:
        rows, rank = first(op), op.value(0).rank
        op.expect_free(*range(1, len(op.ins)))
        expect_other(rows.axis, rank, [op.axis("axis", default, rank)], "it works along")
        return op.all_in(rows.axis)

    return rule


def softmax(op: Op) -> list[State]:
    """Works along `axis`; below opset 13 over all axes from there on."""
    rows, rank = first(op), op.value(0).rank
    axis = op.axis("axis", 1 if op.opset < 13 else -1, rank)
    expect_other(rows.axis, rank, range(axis, rank) if op.opset < 13 else [axis], "it works along")
    return op.all_in(rows.axis)


def from_axis(op: Op) -> list[State]:
    """Normalises over all axes from `axis` on."""
    rows, rank = first(op), op.value(0).rank
    op.expect_free(*range(1, len(op.ins)))
    expect_other(rows.axis, rank, range(op.axis("axis", -1, rank), rank), "it normalises over")
    return op.all_in(rows.axis)


def mean_variance(op: Op) -> list[State]:
    """Normalises over `axes`, by default all but the second."""
    rows, rank = first(op), op.value(0).rank
    expect_other(rows.axis, rank, op.attribute("axes", [0, 2, 3]), "it normalises over")
    return op.all_in(rows.axis)


def cumulative(op: Op) -> list[State]:
    """Adds up along an axis that is the second input."""
    rows, axis = first(op), op.numbers(1, "axes")
    assert axis is not None
    expect_other(rows.axis, op.value(0).rank, [int(axis.reshape(-1)[0])], "it adds up along")
    return op.all_in(rows.axis)


def top_k(op: Op) -> list[State]:
    """Chooses along `axis`."""
    rows, rank = first(op), op.value(0).rank
    expect_other(rows.axis, rank, [op.axis("axis", -1, rank)], "it chooses along")
    op.numbers(1, "values of k")
    return op.all_in(rows.axis)


def one_hot(op: Op) -> list[State]:
    """Adds an axis for the classes."""
    rows = first(op)
    op.expect_free(1, 2)
    axis = op.axis("axis", -1, op.value(0).rank + 1)
    return op.all_in(rows.axis + (axis <= rows.axis))


def trilu(op: Op) -> list[State]:
    """Cuts triangles out of the last two axes."""
    rows, rank = first(op), op.value(0).rank
    expect_other(rows.axis, rank, [-2, -1], "it cuts triangles along")
    return op.all_in(rows.axis)
