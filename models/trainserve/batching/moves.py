"""Rules of operators that move elements: reshape, concatenate, slice, repeat, gather."""

from __future__ import annotations

import math

import numpy as np

from trainserve.batching.op import MIXES, Op, expect_other, first
from trainserve.batching.values import SIZES, NotRowwise, Rows, Shapes, State


def same_order(op: Op) -> list[State]:
    """Changes the shape and keeps the order of elements: Reshape, Flatten, Squeeze, Unsqueeze."""
    rows, value, out = first(op), op.value(0), op.outs[0]
    if out is None or value.shapes is None:
        raise NotRowwise("the shape of its output is unknown")
    for given, made in zip(value.shapes, out, strict=True):
        if math.prod(given) != math.prod(made):
            raise NotRowwise(f"a batch size is baked in: it turns {list(given)} into {list(made)}")
    if op.kind == "Squeeze" and "axes" not in op.attributes and op.given(1) is None and value.shapes[0][rows.axis] == 1:
        raise NotRowwise("it names no axes, so it drops the batch axis when there is one row")
    if not math.prod(out[-1]):
        raise NotRowwise(f"its output, {list(out[-1])}, is empty")
    axes = growing(out)
    if len(axes) != 1:
        raise NotRowwise(f"its output, {list(out[-1])}, must have exactly one axis that grows with the batch")
    # The batch must occur equally often before and after, with the same number of entries per row.
    (axis,), before = axes, math.prod(value.shapes[-1][: rows.axis]) * rows.outer
    outer, rest = divmod(before, math.prod(out[-1][:axis]))
    each = math.prod(out[0]) // before
    if rest or each % math.prod(out[-1][axis + 1 :]):
        raise NotRowwise(f"it spreads the rows, axis {rows.axis} of {list(value.shapes[-1])}, over several axes of "
                         f"{list(out[-1])}")  # fmt: skip
    return [Rows(axis, op.sources(), outer)]


def _grows(shapes: Shapes, axis: int) -> bool:
    """Whether the length of `axis` is proportional to the number of rows."""
    one = shapes[0][axis]
    return all(shape[axis] == one * size for shape, size in zip(shapes, SIZES, strict=True))


def growing(shapes: Shapes) -> list[int]:
    """The axes whose length is proportional to the number of rows."""
    return [axis for axis in range(len(shapes[0])) if _grows(shapes, axis)]


def transpose(op: Op) -> list[State]:
    """Permutes the axes."""
    rows, rank = first(op), op.value(0).rank
    perm = op.attribute("perm") or list(range(rank))[::-1]
    return op.all_in(list(perm).index(rows.axis))


def expand(op: Op) -> list[State]:
    """Broadcasts to a shape; a value without rows becomes the same for every row."""
    rows, out = op.rows(0), op.outs[0]
    if out is None:
        raise NotRowwise("the shape of its output is unknown")
    rank, axes = op.value(0).rank, growing(out)
    if rows is not None:
        axis = rows.axis + len(out[0]) - rank
        if axes != [axis]:
            raise NotRowwise(f"it repeats the rows: {MIXES}")
        return op.all_in(axis)
    if len(axes) != 1:
        raise NotRowwise("more than one axis grows with the batch")
    own = axes[0] - (len(out[0]) - rank)
    if own >= 0 and any(shape[own] != 1 for shape in op.value(0).shapes or ()):
        raise NotRowwise("a constant has entries of its own along the axis of the rows")
    return op.all_in(axes[0])


def tile(op: Op) -> list[State]:
    """Repeats along axes; a value without rows, repeated once per row, is the same for every row."""
    rows, out, value = op.rows(0), op.outs[0], op.value(0)
    if out is None or value.shapes is None:
        raise NotRowwise("the shape of its output is unknown")
    if rows is not None:
        if any(made[rows.axis] != given[rows.axis] for made, given in zip(out, value.shapes, strict=True)):
            raise NotRowwise(f"it repeats the rows: {MIXES}")
        return op.all_in(rows.axis)
    if len(axes := growing(out)) != 1:
        raise NotRowwise("more than one axis grows with the batch")
    return op.all_in(axes[0])


def constant_of_shape(op: Op) -> list[State]:
    """Fills a shape with one value, the same for every row."""
    out = op.outs[0]
    if out is None or len(axes := growing(out)) != 1:
        raise NotRowwise("its output must have exactly one axis that grows with the batch")
    return op.all_in(axes[0])


def concat(op: Op) -> list[State]:
    """Concatenates along `axis`."""
    rank = op.value(0).rank
    axis = op.axis("axis", 1, rank)
    found = [(position, op.rows(position)) for position in range(len(op.ins))]
    axes = {rows.axis for _, rows in found if rows is not None}
    if len(axes) > 1:
        raise NotRowwise(f"the batch axis differs between its inputs: {MIXES}")
    if axis in axes:
        raise NotRowwise(f"it concatenates along axis {axis}, the batch axis: {MIXES}")
    if any(rows is None for _, rows in found):
        raise NotRowwise("a constant has entries of its own along the axis of the rows")
    return op.all_in(axes.pop())


def unchanged_there(op: Op) -> list[State]:
    """Slices, pads or resizes axes other than the batch axis."""
    rows, given = first(op), op.value(0).shapes
    for out in op.outs:
        if out is None or given is None:
            raise NotRowwise("the shape of its output is unknown")
        if any(a[rows.axis] != b[rows.axis] for a, b in zip(given, out, strict=True)):
            raise NotRowwise(f"it changes axis {rows.axis}, the batch axis: {MIXES}")
    return op.all_in(rows.axis)


def slices(op: Op) -> list[State]:
    """Slices axes other than the batch axis, and does not reverse the rows."""
    rows, rank = first(op), op.value(0).rank
    steps, axes = op.numbers(4, "steps"), op.numbers(3, "axes")
    if steps is not None:
        named = range(len(steps)) if axes is None else [int(axis) % rank for axis in axes.reshape(-1)]
        if any(step < 0 and axis == rows.axis for axis, step in zip(named, steps.reshape(-1), strict=True)):
            raise NotRowwise(f"it reverses the rows: {MIXES}")
    return unchanged_there(op)


def pads(op: Op) -> list[State]:
    """Pads axes other than the batch axis."""
    rows, rank = first(op), op.value(0).rank
    given = op.attribute("pads", op.attribute("paddings")) if op.given(1) is None else op.numbers(1, "pads")
    axes = op.numbers(3, "axes")
    named = list(range(rank)) if axes is None else [int(axis) % rank for axis in axes.reshape(-1)]
    padded = np.asarray(given).reshape(2, -1)
    if rows.axis in named and padded[:, named.index(rows.axis)].any():
        raise NotRowwise(f"it pads axis {rows.axis}, the batch axis: {MIXES}")
    return unchanged_there(op)


def split(op: Op) -> list[State]:
    """Splits along `axis`."""
    rows, rank = first(op), op.value(0).rank
    expect_other(rows.axis, rank, [op.axis("axis", 0, rank)], "it splits")
    return op.all_in(rows.axis)


def gather(op: Op) -> list[State]:
    """Gathers entries along `axis`, as an embedding does."""
    data, indices, rank = op.rows(0), op.rows(1), op.value(0).rank
    axis = op.axis("axis", 0, rank)
    if data is None:
        assert indices is not None
        return op.all_in(axis + indices.axis)
    if indices is not None:
        raise NotRowwise(f"each row gathers from all rows: {MIXES}")
    expect_other(data.axis, rank, [axis], "it gathers along")
    return op.all_in(data.axis if data.axis < axis else data.axis + op.value(1).rank - 1)


def gather_elements(op: Op) -> list[State]:
    """Gathers one element along `axis` for each index."""
    data, indices, rank = op.rows(0), op.rows(1), op.value(0).rank
    axis = op.axis("axis", 0, rank)
    if indices is None:
        raise NotRowwise("a constant has entries of its own along the axis of the rows")
    if data is None:
        if indices.axis != axis:
            raise NotRowwise("a constant has entries of its own along the axis of the rows")
        return op.all_in(indices.axis)
    if data.axis != indices.axis or axis == data.axis:
        raise NotRowwise(f"each row gathers from all rows: {MIXES}")
    return op.all_in(indices.axis)


def gather_nd(op: Op) -> list[State]:
    """Gathers slices by index tuples."""
    data, indices, batched = op.rows(0), op.rows(1), int(op.attribute("batch_dims", 0))
    chosen = op.value(1).shapes
    if data is not None and indices is None and chosen is not None and batched == 0:
        depth = chosen[0][-1]
        if data.axis >= depth:
            return op.all_in(data.axis - depth + op.value(1).rank - 1)
    if data is None and indices is not None and indices.axis < op.value(1).rank - 1 and batched == 0:
        return op.all_in(indices.axis)
    if data is not None and indices is not None and batched and data.axis == indices.axis == 0:
        return op.all_in(0)
    raise NotRowwise(f"it gathers from all rows: {MIXES}")


def scatter_elements(op: Op) -> list[State]:
    """Writes one element along `axis` for each index."""
    rank = op.value(0).rank
    axis = op.axis("axis", 0, rank)
    found = [op.rows(position) for position in range(3)]
    axes = {rows.axis for rows in found if rows is not None}
    if None in found or len(axes) > 1 or axis in axes:
        raise NotRowwise(f"it writes across the rows: {MIXES}")
    return op.all_in(axes.pop())


def array_feature(op: Op) -> list[State]:
    """Selects columns, or, from one row of constants, the entry whose index each row holds."""
    data, indices = op.rows(0), op.rows(1)
    if data is None:
        assert indices is not None
        value = op.value(1)
        if value.shapes is None or any(math.prod(shape) != shape[indices.axis] for shape in value.shapes):
            raise NotRowwise("each row names several columns")
        return op.all_in(op.value(0).rank - 1 if op.value(0).rank > 1 else 1)
    if indices is not None:
        raise NotRowwise(f"each row gathers from all rows: {MIXES}")
    expect_other(data.axis, op.value(0).rank, [-1], "it gathers along")
    return op.all_in(data.axis)
