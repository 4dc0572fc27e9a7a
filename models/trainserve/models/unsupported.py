"""Which operator kept a model from being exported: read from what torch's exporter or ONNX's checker raised."""

from __future__ import annotations

import re
from collections.abc import Iterator

_DISPATCH = re.compile(r"OpOverload\(op='(?P<operator>[\w.]+)'")
_NODE = re.compile(r"torch\.ops\.(?P<operator>[\w.]+)")
_DATA_DEPENDENT = re.compile(
    r"data-dependent expression (?P<expression>[^\n]*?)(?: \(unhinted|\.? +\(Size-like|$)", re.M
)
_CHECKED = re.compile(r"op_type: ?(?P<operator>\w+)")
_IN_FUNCTION = re.compile(r"Caused by: \(.* in (?P<function>\w+)\)")


def reason(error: BaseException) -> str:
    """`operator aten._linalg_svd cannot be converted to ONNX`, or the innermost error's first line."""
    told = [str(each) for each in _chain(error)]
    for pattern in (_DISPATCH, _NODE):
        for text in told:
            if found := pattern.search(text):
                return f"operator {found['operator']} cannot be converted to ONNX"
    for text in told:
        if found := _DATA_DEPENDENT.search(text):
            function = _IN_FUNCTION.search(text)
            where = f" in {function['function']}" if function and not function["function"].startswith("__") else ""
            return (
                f"operator aten.item: the control flow{where} depends on the data ({found['expression'].strip()}); "
                "use torch.where or torch.cond"
            )
    last = told[-1].strip() or type(error).__name__
    return last.splitlines()[0]


def invalid(error: Exception) -> str:
    """What ONNX's checker says of a file, the operator first where it names one."""
    text = " ".join(str(error).split())
    found = _CHECKED.search(text)
    return f"operator {found['operator']}: {text}" if found else text


def _chain(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__
