"""Triton releases: the onnxruntime of each, and the newest graphs that it can load.

Releases: `ort_version` in build.py of each release branch of https://github.com/triton-inference-server/server
(TRITON_VERSION_MAP there until 24.11). Highest opset and IR version: measured on 2026-11-22 with the wheels on PyPI,
which agree with the ONNX each was built with (cmake/deps.txt; https://github.com/onnx/onnx/blob/main/docs/Versioning.md):
a graph of one Relu, opset 15 to 29 and IR version 7 to 15, was loaded or refused. Releases 25.08 and 25.09 were built
from onnxruntime's branch before 1.23.0 was published. 26.09 is out, by NVIDIA's release notes; its branch was not seen.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainserve.api.reasons import Reason
from trainserve.api.triton_releases import release_of
from trainserve.store import StoreError

DEVELOPMENT = "development"
"""The development server: Triton 24.10 whose backend runs `DEVELOPMENT_ONNXRUNTIME`."""
DEVELOPMENT_ONNXRUNTIME = "1.32.0"

_ONNXRUNTIME = {
    **dict.fromkeys(["23.06"], "1.15.0"),
    **dict.fromkeys(["23.07", "23.08"], "1.15.1"),
    **dict.fromkeys(["23.09", "23.10"], "1.16.0"),
    **dict.fromkeys(["23.11", "23.12", "24.01", "24.02"], "1.16.3"),
    **dict.fromkeys(["24.03"], "1.17.2"),
    **dict.fromkeys(["24.04"], "1.17.3"),
    **dict.fromkeys(["24.05", "24.06"], "1.18.0"),
    **dict.fromkeys(["24.07"], "1.18.1"),
    **dict.fromkeys(["24.08"], "1.19.0"),
    **dict.fromkeys(["24.09", "24.10", "24.11"], "1.19.2"),
    **dict.fromkeys(["24.12", "25.01", "25.02"], "1.20.1"),
    **dict.fromkeys(["25.03", "25.04"], "1.21.0"),
    **dict.fromkeys(["25.05", "25.06", "25.07"], "1.22.0"),
    **dict.fromkeys(["25.08", "25.09"], "1.23.0"),
    **dict.fromkeys(["25.10"], "1.23.1"),
    **dict.fromkeys(["25.11", "25.12", "26.01"], "1.23.2"),
    **dict.fromkeys(["26.02"], "1.24.1"),
    **dict.fromkeys(["26.03"], "1.24.2"),
    **dict.fromkeys(["26.04", "26.05", "26.06"], "1.24.4"),
    **dict.fromkeys(["26.07"], "1.27.0"),
    **dict.fromkeys(["26.08"], "1.28.0"),
}
_HIGHEST = {
    "1.15": (19, 9),
    "1.16": (19, 9),
    "1.17": (20, 9),
    "1.18": (21, 10),
    "1.19": (21, 10),
    "1.20": (21, 10),
    "1.21": (22, 10),
    "1.22": (22, 10),
    "1.23": (23, 11),
    "1.24": (25, 13),
    "1.27": (26, 13),
    "1.28": (26, 13),
    "1.32": (28, 14),
}
"""onnxruntime's minor release to the highest opset of the standard operators, and the highest IR version."""


class UnknownRelease(StoreError):
    """A Triton release is unknown; the message names the known ones."""


class GraphTooNew(StoreError):
    """The server's onnxruntime cannot load a graph of that opset or IR version."""

    reason = Reason.UNSERVABLE_MODEL


@dataclass(frozen=True)
class Release:
    """A server: `name` is `Triton 25.11` or `the development server`."""

    name: str
    onnxruntime: str
    opset: int
    ir_version: int


def release(name: str) -> Release:
    """Look up `25.11`, an image (`nvcr.io/nvidia/tritonserver:25.11-py3`) or DEVELOPMENT. Raises UnknownRelease."""
    if name == DEVELOPMENT:
        return _release("the development server", DEVELOPMENT_ONNXRUNTIME)
    found = release_of(name)
    if found not in _ONNXRUNTIME:
        known = sorted(_ONNXRUNTIME)
        raise UnknownRelease(f"Triton release {name!r} is not known; known are {known[0]} to {known[-1]}")
    return _release(f"Triton {found}", _ONNXRUNTIME[found])


def is_known(name: str) -> bool:
    """Whether `release` knows it; custom images and future releases are unknown."""
    try:
        return bool(release(name))
    except UnknownRelease:
        return False


def check(opset: int | None, ir_version: int, where: str, server: Release | None) -> None:
    """Raise GraphTooNew if `server` cannot load such a graph; an unknown server (None) is not checked."""
    if server is None:
        return
    for what, value, highest, place in (
        ("opset", opset, server.opset, 0),
        ("IR version", ir_version, server.ir_version, 1),
    ):
        if value is not None and value > highest:
            raise GraphTooNew(
                f"{where}: {what} {value} needs {_first(place, value)}; {server.name} has onnxruntime "
                f"{server.onnxruntime}, which loads up to {what} {highest}"
            )


def _first(place: int, value: int) -> str:
    newer = [name for name, version in _ONNXRUNTIME.items() if _HIGHEST[_minor(version)][place] >= value]
    return f"Triton ≥ {min(newer)}" if newer else f"a Triton later than {max(_ONNXRUNTIME)}"


def _release(name: str, version: str) -> Release:
    opset, ir_version = _HIGHEST[_minor(version)]
    return Release(name, version, opset, ir_version)


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
