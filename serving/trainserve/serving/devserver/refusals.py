"""Reasons why a server did not load a model, some of which are only in its log."""

from __future__ import annotations

import re

_UNREADABLE = re.compile(r"Error parsing text-format inference\.ModelConfig: (.+)")
_POLL = re.compile(r"Poll failed for model directory '(?P<model>[^']*)': (?P<words>.+?)\"?$", re.MULTILINE)
SAYS_NOTHING = ("failed to poll", "UNAVAILABLE", "it was not loaded", "the server does not know it")
"""Answers that do not say why: the server could not read the model's configuration, or refused it at once."""


_NOT_IMPLEMENTED = re.compile(r"Could not find an implementation for \w+\([1-6]\)")
_OLD = (
    "; this is an operator from before opset 7, which onnxruntime does not support: convert the graph to opset 7 "
    "or later, with onnx.version_converter.convert_version"
)


def words(model: str, told: str, log: str) -> str:
    """Return the reason for `model`, from the server's answer `told` and its `log`."""
    found = _words(model, told, log)
    return found + _OLD if _NOT_IMPLEMENTED.search(found) else found


def _words(model: str, told: str, log: str) -> str:
    if not any(nothing in told for nothing in SAYS_NOTHING):
        return told.strip()
    refused = [found for found in _POLL.finditer(log) if found["model"].rpartition("/")[2] == model]
    if not refused:
        return told.strip()
    poll = refused[-1]
    if "text proto" not in poll["words"]:
        return poll["words"].strip()
    unreadable: list[str] = _UNREADABLE.findall(log, 0, poll.start())  # it names the place in the line before
    return (unreadable or [poll["words"]])[-1].strip()
