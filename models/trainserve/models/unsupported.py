"""Reasons why a model cannot be exported, from the errors of torch's exporter and ONNX's checker."""

from __future__ import annotations

import re
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

_DISPATCH = re.compile(r"OpOverload\(op='(?P<operator>[\w.]+)'")
_NODE = re.compile(r"torch\.ops\.(?P<operator>[\w.]+)")
_DATA_DEPENDENT = re.compile(
    r"data-dependent expression (?P<expression>[^\n]*?)(?: \(unhinted|\.? +\(Size-like|$)", re.M
)
_CHECKED = re.compile(r"op_type: ?(?P<operator>\w+)")
_PACKING = (
    "packed sequences (pack_padded_sequence) cannot be converted to ONNX; give the layer the padded batch and take "
    "each sequence's last step: steps, _ = layer(padded); steps[torch.arange(len(steps)), lengths - 1]"
)
_NOT_THEIRS = (Path(__file__).parent, Path(sysconfig.get_paths()["stdlib"]))
_IN_FUNCTION = re.compile(r"Caused by: \(.* in (?P<function>\w+)\)")


def reason(error: BaseException) -> str:
    """`operator aten._linalg_svd cannot be converted to ONNX`, or the innermost error's first line; with the place."""
    frames = [frame for each in _chain(error) for frame in traceback.walk_tb(each.__traceback__)]
    return (_PACKING if any(_packs(frame) for frame, _ in frames) else _reason(error)) + _place(frames)


def _reason(error: BaseException) -> str:
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


def _packs(frame: FrameType) -> bool:
    """Whether the frame makes packed sequences, or is a recurrent layer's with packed input."""
    made = frame.f_code.co_filename.endswith("torch/nn/utils/rnn.py")
    return made or type(frame.f_locals.get("orig_input")).__name__ == "PackedSequence"


def _place(frames: list[tuple[FrameType, int]]) -> str:
    """The innermost file and line of the user's own code, in parentheses; empty if none."""
    for frame, line in reversed(frames):
        file = Path(frame.f_code.co_filename)
        if "site-packages" in file.parts or any(file.is_relative_to(each) for each in _NOT_THEIRS):
            continue
        if file.is_file():
            return f" ({file.name}, line {line})"
    return ""


def invalid(error: Exception) -> str:
    """The error of ONNX's checker on one line, with the operator first if it names one."""
    text = " ".join(str(error).split())
    found = _CHECKED.search(text)
    return f"operator {found['operator']}: {text}" if found else text


def _chain(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__
