"""Why a server does not take a model, in its own words: some of them stand in its log alone."""

from __future__ import annotations

import re

_UNREADABLE = re.compile(r"Error parsing text-format inference\.ModelConfig: (.+)")
_POLL = re.compile(r"Poll failed for model directory '(?P<model>[^']*)': (?P<words>.+?)\"?$", re.MULTILINE)
SAYS_NOTHING = ("failed to poll", "UNAVAILABLE", "it was not loaded", "the server does not know it")
"""What a server answers of a model whose configuration it cannot read, or refuses at once."""


_NOT_IMPLEMENTED = re.compile(r"Could not find an implementation for \w+\([1-6]\)")
_OLD = (
    "; it is an operator as it was before opset 7, of which onnxruntime promises nothing: convert the graph to opset 7 "
    "or later, with onnx.version_converter.convert_version"
)


def words(model: str, told: str, log: str) -> str:
    """Of a model, of which the server told this when it was asked, and wrote that log."""
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
