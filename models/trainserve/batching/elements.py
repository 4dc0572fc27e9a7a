"""Rules of operators that work on single elements, on entries of the first axis, or along axes given by attributes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainserve.batching.op import MIXES, Op, Rule, expect_other, first
from trainserve.batching.values import NotRowwise, Rows, State

# Elementwise.


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
    """Elementwise on the first input; the other inputs are parameters shared by all rows."""
    op.expect_free(*range(1, len(op.ins)))
    return op.all_in(first(op).axis)


def like(op: Op) -> list[State]:
    """Elementwise on the first input; of the other inputs only the type matters."""
    return op.all_in(first(op).axis)


def where_first_and(*positions: int) -> Rule:
    """Broadcasts the inputs at `positions`; the others (scales, zero points) are parameters shared by all rows."""

    def rule(op: Op) -> list[State]:
        op.expect_free(*(each for each in range(len(op.ins)) if each not in positions))
        return [_broadcast(op, positions)] * len(op.outs)

    return rule


# Row by row, if the rows are along the first axis.


def first_axis(*positions: int) -> Rule:
    """Works on each entry of axis 0 by itself; only the inputs at `positions` may hold rows."""

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
    """Takes a table with one sample per row, as ai.onnx.ml does; a tensor of rank 1 would be a single sample."""
    if op.value(0).rank < 2:
        raise NotRowwise("it treats a tensor of rank 1 as a single sample")
    return first_axis(0)(op)


def batch_normalization(op: Op) -> list[State]:
    """Normalises with fixed statistics, except in training mode."""
    training = bool(op.attribute("training_mode", 0))
    if op.opset < 14:
        training = not op.attribute("is_test", 0) if op.opset < 7 else len([each for each in op.outs if each]) > 1
    if training:
        raise NotRowwise(f"it normalises with the statistics of the whole batch: {MIXES}")
    return first_axis(0)(op)


def dropout(op: Op) -> list[State]:
    """The identity, except in training mode."""
    training = op.numbers(2, "training mode") if len(op.ins) > 2 else None
    if (training is not None and training.any()) or (op.opset < 7 and not op.attribute("is_test", 0)):
        raise NotRowwise("it drops elements at random")
    return op.all_in(first(op).axis)


# Along the axes that an attribute or input names.


def reduction(op: Op) -> list[State]:
    """Reduces over `axes` (attribute or second input); by default over all axes."""
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
    """Reduces over `axis`, by default 0."""
    return _reduced(op, first(op), [op.axis("axis", 0, op.value(0).rank)])


def over(default: int) -> Rule:
    """Works along `axis` only; `default` is its default."""

    def rule(op: Op) -> list[State]:
        rows, rank = first(op), op.value(0).rank
        op.expect_free(*range(1, len(op.ins)))
        expect_other(rows.axis, rank, [op.axis("axis", default, rank)], "it works along")
        return op.all_in(rows.axis)

    return rule


def softmax(op: Op) -> list[State]:
    """Works along `axis`; before opset 13, over all axes from `axis` on."""
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
    """Normalises over `axes`, by default 0, 2 and 3."""
    rows, rank = first(op), op.value(0).rank
    expect_other(rows.axis, rank, op.attribute("axes", [0, 2, 3]), "it normalises over")
    return op.all_in(rows.axis)


def cumulative(op: Op) -> list[State]:
    """Sums up along the axis given by the second input."""
    rows, axis = first(op), op.numbers(1, "axes")
    assert axis is not None
    expect_other(rows.axis, op.value(0).rank, [int(axis.reshape(-1)[0])], "it adds up along")
    return op.all_in(rows.axis)


def top_k(op: Op) -> list[State]:
    """Selects the k largest along `axis`."""
    rows, rank = first(op), op.value(0).rank
    expect_other(rows.axis, rank, [op.axis("axis", -1, rank)], "it chooses along")
    op.numbers(1, "values of k")
    return op.all_in(rows.axis)


def one_hot(op: Op) -> list[State]:
    """Inserts an axis for the classes."""
    rows = first(op)
    op.expect_free(1, 2)
    axis = op.axis("axis", -1, op.value(0).rank + 1)
    return op.all_in(rows.axis + (axis <= rows.axis))


def trilu(op: Op) -> list[State]:
    """Keeps a triangle of the last two axes."""
    rows, rank = first(op), op.value(0).rank
    expect_other(rows.axis, rank, [-2, -1], "it cuts triangles along")
    return op.all_in(rows.axis)
