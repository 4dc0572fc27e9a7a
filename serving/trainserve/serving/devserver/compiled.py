"""The development server's onnxruntime backend, compiled from `backend/onnxruntime`: Triton's wheel has none."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

COMPILER = ("g++", "-std=c++20", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra")
LIBRARY = "libtriton_onnxruntime.so"
_SOURCES = Path(__file__).parent / "backend" / "onnxruntime"


class CompileError(Exception):
    """The backend cannot be compiled on this machine; the message says why, in one line."""


def sources() -> str:
    """Return the digest of the backend's sources and of the compiler's command."""
    parts = [*map(str.encode, COMPILER), *(path.read_bytes() for path in sorted(_SOURCES.glob("*.*")))]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def compile_into(folder: Path, libraries: Path, progress: Callable[[str], None]) -> None:
    """Compile `<folder>/libtriton_onnxruntime.so` for the onnxruntime in the folder `libraries`, if it is outdated.

    Also links onnxruntime's library under its soname, which its wheel lacks. Raises CompileError.
    """
    (library,) = (path for path in libraries.glob("libonnxruntime.so.*.*.*") if not path.is_symlink())
    stamp, wanted = folder / "made-of", f"{library.name} {sources()}"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    if shutil.which(COMPILER[0]) is None:
        raise CompileError(f"{COMPILER[0]} is missing; on Debian: apt-get install {COMPILER[0]}")
    progress("development server: compiling its onnxruntime backend")
    by_soname = libraries / ".".join(library.name.split(".")[:3])
    if not by_soname.exists():
        by_soname.symlink_to(library.name)
    folder.mkdir(exist_ok=True)
    aside = folder / "building.so"
    link = [str(library), f"-Wl,-rpath,$ORIGIN/{os.path.relpath(libraries, folder)}"]
    command = [*COMPILER, str(_SOURCES / "backend.cc"), "-o", str(aside), *link]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        lines = [line for line in finished.stderr.splitlines() if "error" in line] or [finished.stderr]
        raise CompileError(f"{COMPILER[0]} backend.cc: {lines[0].strip()}")
    aside.replace(folder / LIBRARY)
    stamp.write_text(wanted)
