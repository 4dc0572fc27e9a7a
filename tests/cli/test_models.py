from __future__ import annotations

import json
from pathlib import Path

from trainserve import store
from trainserve.store import Published


def test_ls_shows_each_model_with_its_newest_version(trainserve, root: Path) -> None:
    finished = trainserve("models", "ls", "--store", root)
    assert finished.status == 0
    header, row = finished.out.splitlines()
    assert header.split() == ["NAME", "VERSIONS", "DIGEST", "ACCURACY", "BYTES", "CREATED"]
    assert row.split()[:3] == ["digits", "1…2", "(2)"]
    assert "0.9700" in row


def test_ls_as_json_from_the_store_of_the_environment(trainserve, root: Path) -> None:
    (model,) = json.loads(trainserve("models", "ls", "-o", "json", TRAINSERVE_STORE=str(root)).out)
    assert (model["name"], model["versions"], model["accuracy"]) == ("digits", [1, 2], 0.97)
    assert model["bytes"] > 0
    assert model["digest"].startswith("sha256:")


def test_ls_of_nothing_says_so(trainserve, root: Path) -> None:
    finished = trainserve("models", "ls", "--store", root, "-n", "nobody")
    assert (finished.status, finished.out) == (0, "")
    assert "no models in namespace nobody" in finished.err


def test_show_lists_the_versions(trainserve, root: Path) -> None:
    lines = trainserve("models", "show", "digits", "--store", root).out.splitlines()
    assert [line.split()[0] for line in lines] == ["VERSION", "1", "2"]


def test_show_one_version_tells_what_its_manifest_says(trainserve, root: Path, published: Published) -> None:
    finished = trainserve("models", "show", "digits", "--version", "1", "--store", root)
    assert published.digest in finished.out
    assert "images uint8 [-1, 28, 28, 1]" in finished.out
    shown = json.loads(
        trainserve("models", "show", "digits", "--version", "1", "--store", root, "-o", "json").out,
    )
    assert shown["manifest"] == published.manifest.model_dump(by_alias=True)


def test_what_does_not_exist_is_one_line_and_exit_2(trainserve, root: Path) -> None:
    version = trainserve("models", "show", "digits", "--version", "7", "--store", root)
    model = trainserve("models", "show", "letters", "--store", root)
    assert (version.status, version.err) == (
        2,
        "trainserve: model digits: version 7 does not exist; published: 1, 2\n",
    )
    assert model.status == 2
    assert "models there: digits" in model.err


def test_show_tells_how_right_the_exported_file_is(
    trainserve, root: Path, published: Published, tmp_path: Path
) -> None:
    fields = {name: getattr(published.manifest, name) for name in store.ManifestDraft.model_fields}
    metrics = store.Metrics(accuracy=0.97, loss=0.1, exported_accuracy=0.965, exported_loss=0.11)
    draft = store.ManifestDraft(**{**fields, "metrics": metrics, "precision": "int8"})
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    store.publish(tmp_path / "store", "default", "small", {"model.onnx": tmp_path / "model.onnx"}, draft)
    shown = trainserve("models", "show", "small", "--version", "1", "--store", tmp_path / "store").out
    assert "opset:       18, int8" in shown
    assert "exported:    accuracy 0.9650, loss 0.11" in shown
