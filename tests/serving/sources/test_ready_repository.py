"""Triton model repositories written by others: every model in them is checked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.serving.sources.folders import names, packed
from tests.serving.sources.places import RangeServer
from trainserve.serving.sources.cache import NodeCache
from trainserve.serving.sources.ready_repository import InvalidRepository, ReadyRepository
from trainserve.serving.sources.source import open_model, open_servable
from trainserve.store import InvalidAddress, StoreError


def test_a_ready_repository_is_served_where_it_lies(ready: Path) -> None:
    found = open_model(str(ready))
    assert isinstance(found, ReadyRepository)
    assert (found.folder, found.models) == (ready, ("first", "second"))


def test_a_repository_comes_from_an_object_store_with_the_same_digest(s3: Any, ready: Path, cache: NodeCache) -> None:
    found = open_model("s3://models/ready", cache=cache)
    assert isinstance(found, ReadyRepository)
    assert found.digest == open_model(str(ready)).digest
    assert names(found.folder) == names(ready)


def test_a_repositorys_digest_is_what_the_shell_says(ready: Path) -> None:
    import subprocess

    line = r"find * -type f ! -name repository.sig | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum"
    told = subprocess.run(["bash", "-c", line], cwd=ready, capture_output=True, text=True, check=True).stdout
    assert open_model(str(ready)).digest == f"sha256:{told.split()[0]}"


@pytest.fixture
def repository(ready: Path, tmp_path: Path) -> Path:
    """A copy of the repository that a test may damage."""
    return Path(shutil.copytree(ready, tmp_path / "repository"))


def spoil_config(folder: Path) -> None:
    (folder / "second/config.pbtxt").write_text("max_batch_size: many")


def spoil_name(folder: Path) -> None:
    (folder / "second/config.pbtxt").write_text('name: "first"')


def drop_version(folder: Path) -> None:
    shutil.rmtree(folder / "second/1")


def drop_graph(folder: Path) -> None:
    (folder / "second/1/model.onnx").rename(folder / "second/1/other")


def version_zero(folder: Path) -> None:
    (folder / "second/1").rename(folder / "second/0")


def spoil_graph(folder: Path) -> None:
    (folder / "second/1/model.onnx").write_bytes(b"\x89PNG\r\n")


def link_out(folder: Path) -> None:
    (folder / "second/1/extra").symlink_to("/etc/passwd")


def link_folder(folder: Path) -> None:
    (folder / "third").symlink_to("second")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "second/pipe")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_config, r"second/config\.pbtxt: .*max_batch_size|second/config\.pbtxt: .*integer"),
        (spoil_name, "name: 'first' must be that of its folder, 'second'"),
        (drop_version, "second: holds no version"),
        (drop_graph, r"second/1/model\.onnx: missing"),
        (version_zero, "second/0: not a version"),
        (spoil_graph, r"second/1/model\.onnx: not an ONNX file"),
        (link_out, "'second/1/extra' is not allowed; it is a link that leads out"),
        (link_folder, "a (symbolic )?link to a folder is not allowed"),
        (pipe, "second/pipe: neither a file nor a folder"),
    ],
)
def test_every_model_of_a_repository_is_checked(
    repository: Path, spoil: Callable[[Path], None], words: str, cache: NodeCache
) -> None:
    spoil(repository)
    with pytest.raises(StoreError, match=words):
        open_model(str(repository))
    with pytest.raises(StoreError):
        open_model(str(repository), cache=cache)


ENSEMBLE = """
name: "both" platform: "ensemble" max_batch_size: 8
input { name: "images" data_type: TYPE_UINT8 dims: [28, 28, 1] }
output { name: "probabilities" data_type: TYPE_FP32 dims: [10] }
ensemble_scheduling { step {
  model_name: "first" model_version: -1
  input_map { key: "images" value: "images" }
  output_map { key: "probabilities" value: "probabilities" }
} }
"""


def test_an_ensembles_empty_folder_is_kept_where_archives_keep_none(
    server: RangeServer, repository: Path, cache: NodeCache
) -> None:
    (repository / "both").mkdir()
    (repository / "both/config.pbtxt").write_text(ENSEMBLE)
    with pytest.raises(InvalidRepository, match="both: holds no version"):
        open_model(str(repository))
    server.files["ready.zip"] = packed(repository, ".zip")
    found = open_model(server.uri("ready.zip"), cache=cache)
    assert isinstance(found, ReadyRepository)
    assert found.models == ("both", "first", "second")
    assert (found.folder / "both/1").is_dir()


def test_a_folder_without_any_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder/.hidden").mkdir(parents=True)
    (tmp_path / "folder/.hidden/file").write_text("")
    with pytest.raises(InvalidRepository, match="holds no model"):
        open_model(str(tmp_path / "folder"))


def test_where_one_graph_is_needed_a_repository_is_refused(ready: Path) -> None:
    with pytest.raises(InvalidAddress, match="a ready Triton repository; one model is needed here"):
        open_servable(str(ready))
