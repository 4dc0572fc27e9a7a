"""Files and folders that hold no graph: how they are described, and what the user is advised to do."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from tests.serving.graphs import convnet
from trainserve.serving.sources.not_onnx import what
from trainserve.serving.sources.onnx_graph import UnusableGraph
from trainserve.serving.sources.ready_repository import InvalidRepository
from trainserve.serving.sources.source import open_model, open_servable
from trainserve.store import ModelNotFound

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 102400\n" % ("ab" * 32)
CONTENTS = {
    "pointer": (POINTER.encode(), "a git-lfs pointer.*git lfs pull"),
    "page": (b"\n<!DOCTYPE html>\n<html><title>Sign in</title>", "a web page"),
    "error": (b'{"error": "not found"}', "JSON, perhaps a server's error"),
    "pickle": (pickle.dumps({"a": 1}), "a pickle.*torch.onnx.export"),
    "weights": (save({"w": np.zeros(3, np.float32)}), "a safetensors file: weights without a network"),
    "keras": (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes"),
    "lite": (b"\x1c\x00\x00\x00TFL3", "a TensorFlow Lite model"),
    "gzip": (b"\x1f\x8b\x08\x00", "compressed with gzip"),
    "nothing": (b"", "empty"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_that_holds_something_else_is_told_by_its_content(tmp_path: Path, name: str) -> None:
    content, words = CONTENTS[name]
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(UnusableGraph, match=words):
        open_servable(str(path))


def test_a_file_of_torch_is_told_to_be_there_and_to_need_an_export(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", b"")
    with pytest.raises(ModelNotFound, match=r"model\.pth: a zip archive, as torch.save and Keras write; export it"):
        open_servable(str(path))


def test_a_file_of_no_known_kind_is_not_said_to_be_absent(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"\x00\x01\x02")
    with pytest.raises(ModelNotFound, match=r"neither an \.onnx file, nor an archive"):
        open_servable(str(path))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["config.json", "model.onnx", "tokenizer.json"], r"a folder with model\.onnx; give the file: .*/model\.onnx"),
        (["config.json", "model.safetensors"], "a folder with model.safetensors and no .onnx file; export it"),
        (["saved_model.pb"], "a SavedModel of TensorFlow"),
        (["README.md"], "neither a version of the store"),
    ],
)
def test_a_folder_that_is_no_model_is_told_by_what_lies_in_it(tmp_path: Path, files: list[str], words: str) -> None:
    for name in files:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ModelNotFound, match=words):
        open_servable(str(tmp_path))


def test_a_models_own_folder_is_told_from_the_repository_around_it(tmp_path: Path) -> None:
    version = tmp_path / "digits" / "1"
    version.mkdir(parents=True)
    (version / "model.onnx").write_bytes(convnet().SerializeToString())
    (version.parent / "config.pbtxt").write_text('backend: "onnxruntime"\n')
    with pytest.raises(InvalidRepository, match="digits: the folder of one model; give the repository"):
        open_model(str(version.parent))
    assert open_servable(str(version / "model.onnx")).name == "digits"


def test_a_path_that_is_not_there_is_said_to_be_absent(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"there is no .*/model\.pth"):
        open_servable(str(tmp_path / "model.pth"))


def test_a_graph_is_nothing_else() -> None:
    assert what(convnet().SerializeToString()[:1024]) is None
