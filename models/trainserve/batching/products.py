"""Rules of matrix products, einsum, recurrent networks and attention."""

from __future__ import annotations

from trainserve.batching.op import MIXES, Op, Rule, first
from trainserve.batching.values import NotRowwise, Rows, State

# Products.


def matmul(a: int = 0, b: int = 1) -> Rule:
    """numpy.matmul of the inputs at `a` and `b`; the other inputs are parameters shared by all rows."""

    def rule(op: Op) -> list[State]:
        op.expect_free(*(each for each in range(len(op.ins)) if each not in (a, b)))
        return [_matmul(op, a, b)]

    return rule


def fused_matmul(op: Op) -> list[State]:
    """MatMul with optional transposition of its inputs."""
    if op.attribute("transBatchA", 0) or op.attribute("transBatchB", 0):
        raise NotRowwise("it transposes batches")
    return [_matmul(op, 0, 1, bool(op.attribute("transA", 0)), bool(op.attribute("transB", 0)))]


def _matmul(op: Op, a: int, b: int, turn_a: bool = False, turn_b: bool = False) -> Rows:
    left, right = op.value(a), op.value(b)
    rank = max(left.rank, right.rank, 2)
    summed_a = left.rank - (2 if turn_a and left.rank > 1 else 1)
    summed_b = right.rank - (1 if turn_b and right.rank > 1 else 2) if right.rank > 1 else 0
    axes = set()
    for rows, value, summed, kept in ((op.rows(a), left, summed_a, -2), (op.rows(b), right, summed_b, -1)):
        if rows is None:
            continue
        if rows.axis == summed:
            raise NotRowwise(f"it sums over axis {rows.axis}, the batch axis: {MIXES}")
        inner = rows.axis >= value.rank - 2
        axes.add(rank + kept if inner else rows.axis + rank - value.rank)
    if len(axes) != 1:
        raise NotRowwise(f"it multiplies every row with every other: {MIXES}")
    axis = axes.pop()
    if axis < rank - 2:  # a stack of matrices, to which a constant is broadcast
        for position, value in ((a, left), (b, right)):
            own = axis - (rank - value.rank)
            if op.rows(position) is None and own >= 0 and any(shape[own] != 1 for shape in value.shapes or ()):
                raise NotRowwise("a constant has several entries along the batch axis")
    # A product with a vector drops that axis.
    if left.rank == 1 and axis == rank - 1:
        axis -= 1
    return op.rows_in(axis)


def gemm(op: Op) -> list[State]:
    """General matrix product, A B + C."""
    rows = first(op)
    if rows.axis != (1 if op.attribute("transA", 0) else 0):
        raise NotRowwise(f"it sums over axis {rows.axis}, the batch axis: {MIXES}")
    op.expect_free(1)
    third, added = op.given(2), op.rows(2)
    if added is not None and (third is None or added.axis != third.rank - 2):
        raise NotRowwise(f"it adds a bias that holds rows along another axis: {MIXES}")
    if third is not None and added is None and third.rank > 1 and any(shape[0] != 1 for shape in third.shapes or ()):
        raise NotRowwise("a constant has several entries along the batch axis")
    return op.all_in(0)


def einsum(op: Op) -> list[State]:
    """Sum of products over the axes named in the equation."""
    equation = op.attribute("equation", b"")
    text = (equation.decode() if isinstance(equation, bytes) else equation).replace(" ", "")
    if "." in text or "->" not in text:
        raise NotRowwise("its equation does not name every axis")
    left, out = text.split("->")
    letters = {
        term[rows.axis] for position, term in enumerate(left.split(",")) if (rows := op.rows(position)) is not None
    }
    free = "".join(term for position, term in enumerate(left.split(",")) if op.rows(position) is None)
    if len(letters) != 1 or (letter := letters.pop()) not in out or letter in free:
        raise NotRowwise(f"it sums over rows or multiplies every row with every other: {MIXES}")
    if any(term.count(letter) > 1 for term in left.split(",")):
        raise NotRowwise("it takes a diagonal of the rows")
    return op.all_in(out.index(letter))


# Sequences.


def recurrent(op: Op) -> list[State]:
    """RNN, GRU, LSTM: with layout 0 axis 0 is time and axis 1 the batch."""
    batch = 0 if op.attribute("layout", 0) else 1
    rows = first(op)
    if rows.axis != batch:
        if rows.axis == 0:
            raise NotRowwise(f"its first axis is time: {MIXES}")
        raise NotRowwise(f"it works along axis {rows.axis}, the batch axis: {MIXES}")
    op.expect_free(1, 2, 3, 7)
    lengths = op.rows(4)
    if lengths is not None and lengths.axis != 0:
        raise NotRowwise("its sequence lengths must have one entry per row")
    for position in (5, 6):
        state, given = op.rows(position), op.given(position)
        if state is not None and state.axis != batch:
            raise NotRowwise(f"its initial state has batch axis {state.axis}, not {batch}: {MIXES}")
        if state is None and given is not None:
            raise NotRowwise("its initial state is a constant for one batch size")
    whole, last = (2, 1) if batch else (0, 0)
    return [op.rows_in(whole if position == 0 else last) for position in range(len(op.outs))]


def attention(op: Op) -> list[State]:
    """Attention whose query, key, value and past belong to the same rows; the mask may be shared or one per row."""
    for position in range(len(op.ins)):
        rows = op.rows(position)
        if rows is not None and rows.axis != 0:
            raise NotRowwise(f"it works along axis {rows.axis}, the batch axis: {MIXES}")
    if any(op.rows(position) is None for position in (0, 1, 2)):
        raise NotRowwise("its query, key and value must all depend on the rows")
    mask = op.given(3)
    if mask is not None and op.rows(3) is not None and mask.rank < 4:
        raise NotRowwise("its mask has no batch axis of its own")
    return op.all_in(0)
