from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from tests.serving.graphs import convnet
from trainserve.api.triton import RateLimiter
from trainserve.serving.protocol.triton_types import UnservableModel
from trainserve.serving.repository.repository import Entry, server_flags, write
from trainserve.serving.repository.settings import InvalidSettings, Settings
from trainserve.serving.sources.cache import NodeCache
from trainserve.serving.sources.servable import Servable
from trainserve.serving.sources.source import open_servable
from trainserve.store import Tensor


@pytest.fixture(scope="module")
def model(fetched: Path) -> Servable:
    return Servable.of_version(fetched / "version")


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_writing_again_replaces_the_repository_as_a_whole(fetched: Path, model: Servable) -> None:
    models = fetched / "again"
    write([Entry("old", model)], models)
    write([Entry("new", model), Entry("other", model)], models)
    assert files(models) == [
        *("new/1/model.onnx", "new/config.pbtxt", "new/labels.txt"),
        *("other/1/model.onnx", "other/config.pbtxt", "other/labels.txt"),
    ]


def test_entries_of_one_name_are_its_versions(fetched: Path, model: Servable) -> None:
    models = fetched / "versions"
    write([Entry("digits", model, version=1), Entry("digits", model, version=3)], models)
    assert files(models) == [
        f"digits/{file}" for file in ("1/model.onnx", "3/model.onnx", "config.pbtxt", "labels.txt")
    ]


def test_versions_that_one_configuration_cannot_describe_are_refused(fetched: Path, model: Servable) -> None:
    models = fetched / "unlike"
    other = replace(model, inputs=(Tensor(name="images", dtype="uint8", shape=[-1, 32, 32, 1]),))
    with pytest.raises(UnservableModel, match="model digits: versions 1 and 2 differ in their inputs"):
        write([Entry("digits", model), Entry("digits", other, version=2)], models)
    with pytest.raises(InvalidSettings, match="model digits: versions 1 and 2 differ in settings"):
        write([Entry("digits", model), Entry("digits", model, Settings(threads=2), version=2)], models)
    assert not list(fetched.glob("*unlike*")), "nothing is left of a repository that could not be written"


def test_a_label_with_a_line_break_stays_one_line(fetched: Path, model: Servable) -> None:
    write([Entry("digits", replace(model, labels=("a\nb", *model.labels[1:])))], fetched / "labels")
    assert (fetched / "labels/digits/labels.txt").read_text().splitlines()[:2] == ["a b", "one"]


@pytest.mark.parametrize("cached", [False, True])
def test_a_lone_graph_with_weights_beside_it_can_be_opened_again_while_it_is_served(
    tmp_path: Path, cached: bool
) -> None:
    path, cache = tmp_path / "large.onnx", NodeCache(tmp_path / "cache", 1 << 30) if cached else None
    onnx.save(convnet(), path, save_as_external_data=True, location="large.bin", size_threshold=0)
    first = open_servable(str(path), cache=cache)
    write([Entry("large", first)], tmp_path / "served")
    assert files(tmp_path / "served/large/1") == ["large.bin", "large.onnx"]
    again = open_servable(str(path), cache=cache)
    assert {file: (again.folder / file).stat().st_nlink for file in again.files} == dict.fromkeys(first.files, 1)


def test_only_what_lies_in_our_cache_is_linked(tmp_path: Path) -> None:
    path = tmp_path / "lone.onnx"
    onnx.save(convnet(), path)
    cached = open_servable(str(path), cache=NodeCache(tmp_path / "cache", 1 << 30))
    write([Entry("own", open_servable(str(path))), Entry("cached", cached)], tmp_path / "served")
    assert path.stat().st_nlink == 1
    assert (tmp_path / "served/cached/1/lone.onnx").stat().st_nlink == 2


def test_the_server_is_told_of_what_any_of_its_models_needs() -> None:
    assert server_flags([Settings(), Settings()]) == []
    assert server_flags([Settings(), Settings(response_cache=True), Settings(rate_limiter=RateLimiter())]) == [
        "--cache-config=local,size=67108864",
        "--rate-limit=execution_count",
    ]
