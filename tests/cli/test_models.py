from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Trainserve
from trainserve import store
from trainserve.store import Published


def test_ls_shows_each_model_with_its_newest_version(trainserve: Trainserve, root: Path) -> None:
    finished = trainserve("models", "ls", "--store", root)
    assert finished.status == 0
    header, row = finished.out.splitlines()
    assert header.split() == ["NAME", "VERSIONS", "DIGEST", "ACCURACY", "BYTES", "CREATED"]
    assert row.split()[:3] == ["digits", "1…2", "(2)"]
    assert "0.9700" in row


def test_ls_as_json_from_the_store_of_the_environment(trainserve: Trainserve, root: Path) -> None:
    (model,) = json.loads(trainserve("models", "ls", "-o", "json", TRAINSERVE_STORE=str(root)).out)
    assert (model["name"], model["versions"], model["accuracy"]) == ("digits", [1, 2], 0.97)
    assert model["bytes"] > 0
    assert model["digest"].startswith("sha256:")


def test_ls_of_nothing_says_so(trainserve: Trainserve, root: Path) -> None:
    finished = trainserve("models", "ls", "--store", root, "-n", "nobody")
    assert (finished.status, finished.out) == (0, "")
    assert "no models in namespace nobody" in finished.err


def test_show_lists_the_versions(trainserve: Trainserve, root: Path) -> None:
    lines = trainserve("models", "show", "digits", "--store", root).out.splitlines()
    assert [line.split()[0] for line in lines] == ["VERSION", "1", "2"]


def test_show_one_version_tells_what_its_manifest_says(
    trainserve: Trainserve, root: Path, published: Published
) -> None:
    finished = trainserve("models", "show", "digits", "--version", "1", "--store", root)
    assert published.digest in finished.out
    assert "images uint8 [-1, 28, 28, 1]" in finished.out
    shown = json.loads(
        trainserve("models", "show", "digits", "--version", "1", "--store", root, "-o", "json").out,
    )
    assert shown["manifest"] == published.manifest.model_dump(by_alias=True)


def test_what_does_not_exist_is_one_line_and_exit_2(trainserve: Trainserve, root: Path) -> None:
    version = trainserve("models", "show", "digits", "--version", "7", "--store", root)
    model = trainserve("models", "show", "letters", "--store", root)
    assert (version.status, version.err) == (
        2,
        "trainserve: model digits: version 7 does not exist; published: 1, 2\n",
    )
    assert model.status == 2
    assert "models there: digits" in model.err


def test_show_tells_how_right_the_exported_file_is(
    trainserve: Trainserve, root: Path, published: Published, tmp_path: Path
) -> None:
    fields = {name: getattr(published.manifest, name) for name in store.ManifestDraft.model_fields}
    metrics = store.Metrics(accuracy=0.97, loss=0.1, exported_accuracy=0.965, exported_loss=0.11)
    draft = store.ManifestDraft(**{**fields, "metrics": metrics, "precision": "int8"})
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    store.publish(tmp_path / "store", "default", "small", {"model.onnx": tmp_path / "model.onnx"}, draft)
    shown = trainserve("models", "show", "small", "--version", "1", "--store", tmp_path / "store").out
    assert "opset:       18, int8" in shown
    assert "exported:    accuracy 0.9650, loss 0.11" in shown


@pytest.fixture
def reported(published: Published, tmp_path: Path) -> Path:
    """A store with two versions: one as an earlier release wrote it, one with a report and curves."""
    fields = {name: getattr(published.manifest, name) for name in store.ManifestDraft.model_fields}
    curves = store.Curves(epoch=[1, 2], seconds=[0.5, 1.0], loss=[2.5, 0.125], accuracy=[0.25, 0.9375])
    files = {name: tmp_path / name for name in ("model.onnx", store.REPORT)}
    for path in files.values():
        path.write_bytes(b"content of " + path.name.encode())
    root = tmp_path / "store"
    del fields["curves"]
    store.publish(root, "team", "small", {"model.onnx": files["model.onnx"]}, store.ManifestDraft(**fields))
    store.publish(root, "team", "small", files, store.ManifestDraft(**fields, curves=curves))
    return root


def test_a_version_beside_the_name_is_the_same_as_the_option(trainserve: Trainserve, root: Path) -> None:
    option = trainserve("models", "show", "digits", "--version", "1", "--store", root)
    beside = trainserve("models", "show", "digits/1", "--store", root)
    both = trainserve("models", "show", "digits/1", "--version", "1", "--store", root)
    assert option.out == beside.out == both.out
    assert "version 1" in beside.out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["digits/1", "--version", "2"], "digits/1 and --version 2 name two versions; give one of them"),
        (["digits/x"], "digits/x: 'x' is not a version; must be a number from 1 to 999999999"),
        (["a/1000000000"], "a/1000000000: '1000000000' is not a version; must be a number from 1 to 999999999"),
        (["digits/0"], "digits/0: '0' is not a version"),
        (["digits/"], "digits/: '' is not a version"),
        (["digits/7"], "model digits: version 7 does not exist; published: 1, 2"),
    ],
)
def test_a_version_that_is_none_is_named(
    trainserve: Trainserve, root: Path, arguments: list[str], complaint: str
) -> None:
    finished = trainserve("models", "show", *arguments, "--store", root)
    assert finished.status == 2
    assert finished.err.startswith(f"trainserve: {complaint}")
    assert finished.err.count("\n") == 1


def test_show_draws_the_curves(trainserve: Trainserve, reported: Path) -> None:
    shown = trainserve("models", "show", "small/2", "--store", reported, "-n", "team").out
    assert "curves:      loss      2.5    █▁ 0.125\n" in shown
    assert "             accuracy  0.25   ▁█ 0.9375\n" in shown
    assert "curves:" not in trainserve("models", "show", "small/1", "--store", reported, "-n", "team").out


@pytest.mark.parametrize("name", ["small/2", "small"])
def test_the_report_is_written_out_in_the_place_of_what_was_there(
    trainserve: Trainserve, reported: Path, tmp_path: Path, name: str
) -> None:
    file = tmp_path / "out/report of small.html"
    file.parent.mkdir()
    file.write_text("an older one")
    finished = trainserve("models", "show", name, "--report", file, "--store", reported, "-n", "team", "-o", "json")
    assert (finished.status, finished.err) == (0, f"report: {file} (22 bytes)\n")
    assert json.loads(finished.out)["version"] == 2
    assert file.read_bytes() == b"content of report.html"
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_version_without_a_report_says_so(trainserve: Trainserve, reported: Path, tmp_path: Path) -> None:
    finished = trainserve("models", "show", "small/1", "--report", "x.html", "--store", reported, "-n", "team")
    assert (finished.status, finished.out) == (1, "")
    assert finished.err.startswith("trainserve: model small: version 1 has no report.html: it was published by an earl")
    assert finished.err.count("\n") == 1
    assert not (tmp_path / "x.html").exists()


def test_a_report_that_was_changed_is_refused(trainserve: Trainserve, reported: Path, tmp_path: Path) -> None:
    (reported / "team/small/2/report.html").write_bytes(b"<script>")
    finished = trainserve("models", "show", "small/2", "--report", "x.html", "--store", reported, "-n", "team")
    assert (finished.status, finished.out) == (1, "")
    assert "team/small/2/report.html: expected sha256:" in finished.err
    assert not (tmp_path / "x.html").exists()


@pytest.mark.parametrize(
    ("file", "status", "complaint"),
    [(".", 2, "'.' is a directory"), ("absent/x.html", 1, "cannot write absent/x.html: No such file or directory")],
)
def test_a_place_that_takes_no_report_is_named(
    trainserve: Trainserve, reported: Path, file: str, status: int, complaint: str
) -> None:
    finished = trainserve("models", "show", "small/2", "--report", file, "--store", reported, "-n", "team")
    assert finished.status == status
    assert complaint in finished.err
    assert finished.err.count("\n") == 1
