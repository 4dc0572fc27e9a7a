"""Constant folding of small values that depend on constants and shapes only, as exporters write before a Reshape.

numpy and onnx agree on these operators except where a function below says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Attributes = Mapping[str, Any]

LARGEST = 4096
"""Largest number of elements of a folded value."""


def fold(operator: str, attributes: Attributes, given: Sequence[Array | None], dtype: Any) -> Array | None:
    """Compute the standard `operator` on known values; return None if it is not listed below or cannot be computed.

    `dtype`: numpy dtype of the output, None if shape inference does not know it.
    """
    make = _OPERATORS.get(operator)
    if make is None:
        return None
    try:
        with np.errstate(all="ignore"):
            made = np.asarray(make(given, attributes))
    except (ValueError, IndexError, TypeError, KeyError, OverflowError, ZeroDivisionError):
        return None
    if made.size > LARGEST:
        return None
    return made.astype(dtype) if dtype is not None and made.dtype != dtype else made


def _div(given: Sequence[Any], _: Attributes) -> Array:
    a, b = given
    if a.dtype.kind not in "iu":
        return np.asarray(a / b)
    return np.asarray(np.trunc(a.astype(np.float64) / b).astype(a.dtype))  # C's division


def _axes(given: Sequence[Any], attributes: Attributes, position: int = 1) -> tuple[int, ...] | None:
    if len(given) > position and given[position] is not None:
        return tuple(int(axis) for axis in given[position].reshape(-1))
    return tuple(attributes["axes"]) if "axes" in attributes else None


def _squeeze(given: Sequence[Any], attributes: Attributes) -> Array:
    return np.asarray(np.squeeze(given[0], _axes(given, attributes)))


def _unsqueeze(given: Sequence[Any], attributes: Attributes) -> Array:
    return np.asarray(np.expand_dims(given[0], _axes(given, attributes) or ()))


def _slice(given: Sequence[Any], attributes: Attributes) -> Array:
    data = given[0]
    if "starts" in attributes:
        starts, ends, axes, steps = attributes["starts"], attributes["ends"], attributes.get("axes"), None
    else:
        starts, ends = given[1].tolist(), given[2].tolist()
        axes = given[3].tolist() if len(given) > 3 and given[3] is not None else None
        steps = given[4].tolist() if len(given) > 4 and given[4] is not None else None
    where = [slice(None)] * data.ndim
    for position, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = axes[position] if axes is not None else position
        step = steps[position] if steps is not None else 1
        size = data.shape[axis]
        # A negative step past the beginning: numpy would read a negative end as counted from the end.
        last = None if step < 0 and end < -size else end
        where[axis] = slice(start, last, step)
    return np.asarray(data[tuple(where)])


def _reduce(function: Callable[..., Any]) -> Callable[[Sequence[Any], Attributes], Any]:
    def reduce(given: Sequence[Any], attributes: Attributes) -> Any:
        axes = _axes(given, attributes)
        if not axes and attributes.get("noop_with_empty_axes"):
            return given[0]
        return function(given[0], axis=axes or None, keepdims=bool(attributes.get("keepdims", 1)))

    return reduce


def _constant_of_shape(given: Sequence[Any], attributes: Attributes) -> Array:
    if int(np.prod(given[0])) > LARGEST:
        raise ValueError("too large to be kept")
    value = attributes.get("value")
    fill = np.float32(0) if value is None else value.reshape(-1)[0]
    return np.full(tuple(given[0].tolist()), fill)


def _expand(given: Sequence[Any], _: Attributes) -> Array:
    shape = np.broadcast_shapes(given[0].shape, tuple(given[1].tolist()))
    if np.prod(shape) > LARGEST:
        raise ValueError("too large to be kept")
    return np.asarray(np.broadcast_to(given[0], shape))


def _reshape(given: Sequence[Any], attributes: Attributes) -> Array:
    wanted = given[1].tolist()
    if not attributes.get("allowzero"):
        wanted = [given[0].shape[at] if size == 0 else size for at, size in enumerate(wanted)]
    return np.asarray(given[0].reshape(wanted))


def _range(given: Sequence[Any], _: Attributes) -> Array:
    start, limit, step = (each.reshape(-1)[0] for each in given)
    if step == 0 or (limit - start) / step > LARGEST:
        raise ValueError("too large to be kept")
    return np.arange(start, limit, step)


def _variadic(function: Callable[[Any, Any], Any]) -> Callable[[Sequence[Any], Attributes], Any]:
    def apply(given: Sequence[Any], _: Attributes) -> Any:
        made = given[0]
        for each in given[1:]:
            made = function(made, each)
        return made

    return apply


def _mod(given: Sequence[Any], attributes: Attributes) -> Any:
    return np.fmod(*given) if attributes.get("fmod") else np.mod(*given)


_OPERATORS: dict[str, Callable[[Sequence[Any], Attributes], Any]] = {
    "Identity": lambda given, _: given[0],
    "Cast": lambda given, _: given[0],
    "CastLike": lambda given, _: given[0],
    "Add": lambda given, _: given[0] + given[1],
    "Sub": lambda given, _: given[0] - given[1],
    "Mul": lambda given, _: given[0] * given[1],
    "Div": _div,
    "Mod": _mod,
    "Pow": lambda given, _: np.power(given[0], given[1]),
    "Neg": lambda given, _: -given[0],
    "Abs": lambda given, _: np.abs(given[0]),
    "Floor": lambda given, _: np.floor(given[0]),
    "Ceil": lambda given, _: np.ceil(given[0]),
    "Round": lambda given, _: np.rint(given[0]),
    "Sqrt": lambda given, _: np.sqrt(given[0]),
    "Exp": lambda given, _: np.exp(given[0]),
    "Log": lambda given, _: np.log(given[0]),
    "Reciprocal": lambda given, _: 1 / given[0],
    "Min": _variadic(np.minimum),
    "Max": _variadic(np.maximum),
    "Sum": _variadic(np.add),
    "Equal": lambda given, _: given[0] == given[1],
    "Greater": lambda given, _: given[0] > given[1],
    "GreaterOrEqual": lambda given, _: given[0] >= given[1],
    "Less": lambda given, _: given[0] < given[1],
    "LessOrEqual": lambda given, _: given[0] <= given[1],
    "Not": lambda given, _: ~given[0],
    "And": lambda given, _: given[0] & given[1],
    "Or": lambda given, _: given[0] | given[1],
    "Where": lambda given, _: np.where(given[0], given[1], given[2]),
    "Concat": lambda given, attributes: np.concatenate(given, attributes["axis"]),
    "Gather": lambda given, attributes: np.take(given[0], given[1], attributes.get("axis", 0)),
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Flatten": lambda given, attributes: given[0].reshape(
        int(np.prod(given[0].shape[: attributes.get("axis", 1)])), -1
    ),
    "Transpose": lambda given, attributes: np.transpose(given[0], attributes.get("perm")),
    "Expand": _expand,
    "Tile": lambda given, _: np.tile(given[0], given[1].tolist()),
    "Range": _range,
    "ConstantOfShape": _constant_of_shape,
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "ReduceMin": _reduce(np.min),
    "ReduceMax": _reduce(np.max),
}
"""The operators that occur in arithmetic on shapes."""
