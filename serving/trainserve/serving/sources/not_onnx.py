"""Descriptions of files that are not ONNX graphs, by their first bytes, with advice."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

HEAD = 1024
"""Bytes to read."""
_EXPORT = "export it to ONNX first, with torch.onnx.export(model, inputs, 'model.onnx'), or train it as a TrainJob"
_MAGIC: tuple[tuple[bytes, int, str], ...] = (
    (b"version https://git-lfs", 0, "a git-lfs pointer, not the file itself; run `git lfs pull` where it was cloned"),
    (b"PK\x03\x04", 0, f"a zip archive, as torch.save and Keras write; {_EXPORT}"),
    (b"\x89HDF", 0, "an HDF5 file, as Keras writes; export it to ONNX first, with model.export(…, format='onnx')"),
    (b"TFL3", 4, "a TensorFlow Lite model; convert it with tf2onnx --tflite"),
    (b"GGUF", 0, "a GGUF file of llama.cpp, which is no ONNX graph"),
    (b"\x1f\x8b", 0, "compressed with gzip; unpack it first"),
    (b"\xfd7zXZ", 0, "compressed with xz; unpack it first"),
    (b"\x28\xb5\x2f\xfd", 0, "compressed with zstd; unpack it first"),
)
"""Bytes, their position in the file, and the description."""
_PROTOCOLS = (b"\x02", b"\x03", b"\x04", b"\x05")
"""Pickle's protocols that begin with their number."""


def what(content: bytes) -> str | None:
    """Describe a file that begins with `content`; None if its kind is unknown."""
    for magic, position, words in _MAGIC:
        if content[position:].startswith(magic):
            return words
    if not content:
        return "empty: it has no graph"
    if content[:1] == b"\x80" and content[1:2] in _PROTOCOLS:
        return f"a pickle, as torch.save and scikit-learn write, which is never loaded here; {_EXPORT}"
    text = content.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return "a web page, perhaps one that asks to sign in or says that there is no such file; look at it"
    if len(content) > 9 and int.from_bytes(content[:8], "little") < 1 << 32 and content[8:9] == b"{":
        return f"a safetensors file: weights without a network; {_EXPORT}"
    if text.startswith((b"{", b"[")):
        return "JSON, perhaps a server's error; look at it"  # not shown: only the pod may be allowed to read it
    return None


def of_file(path: Path) -> str | None:
    """Describe a file on this disk (`what`). Raises OSError."""
    with path.open("rb") as file:
        return what(file.read(HEAD))


def of_folder(names: Iterable[str], folder: str) -> str:
    """Describe a folder that is neither a version nor a repository; `names` are its entries."""
    found = sorted(names)
    if "config.pbtxt" in found:
        return "the folder of one model; give the repository, which is the folder around it"
    graphs = [name for name in found if name.lower().endswith(".onnx")]
    if graphs:
        return f"a folder with {', '.join(graphs)}; give the file: {folder.rstrip('/')}/{graphs[0]}"
    if "saved_model.pb" in found:
        return "a SavedModel of TensorFlow; convert it with tf2onnx --saved-model"
    weights = [name for name in found if name.lower().endswith((".safetensors", ".bin", ".pt", ".pth", ".ckpt"))]
    if weights:
        return f"a folder with {weights[0]} and no .onnx file; {_EXPORT}"
    return "neither a version of the store (manifest.json), nor a model repository, nor one with an .onnx file in it"
