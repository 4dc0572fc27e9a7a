"""The environment of a training: releases of libraries and the hardware, without environment variables."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from pathlib import Path

_LIBRARIES = ("torch", "onnx", "onnxruntime", "numpy")
_CPUINFO = Path("/proc/cpuinfo")


def environment() -> dict[str, str]:
    """Values by name, in the order shown; GPU and threads only if torch is loaded."""
    found = {"TrainServe": _release("trainserve"), "Python": platform.python_version()}
    names = [*_LIBRARIES, *(name for name in ("keras", "timm") if name in sys.modules)]
    found |= {name: _release(name) for name in names}
    found["system"] = f"{platform.system()} {platform.machine()}"
    found["processor"] = processor()
    if "torch" in sys.modules:
        import torch

        found["threads"] = str(torch.get_num_threads())
        if torch.cuda.is_available():
            found["GPU"] = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    return found


def processor(cpuinfo: Path = _CPUINFO) -> str:
    """The processor's model name from the kernel, else the architecture."""
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = [value.strip() for key, _, value in (line.partition(":") for line in lines) if key.strip() == "model name"]
    return names[0] if names else platform.machine()


def _release(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"
