from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import urllib.request
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Trainserve
from tests.serving.graphs import convnet
from tests.serving.versions import LABELS, answers, images
from trainserve.files.pictures import FORMATS
from trainserve.serving.devserver.server import DevelopmentServer

UNREADABLE = f"not a picture that can be read ({', '.join(FORMATS)})"


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A 28x28 greyscale PNG."""
    path = tmp_path / "sample.png"
    Image.fromarray(images(1)[0, :, :, 0]).save(path)
    return path


def expected(inputs: np.ndarray) -> list[tuple[str, float]]:
    return [(LABELS[row.argmax()], float(row.max())) for row in answers(convnet(), inputs)]


def urls(server: DevelopmentServer) -> list[str]:
    return [server.url, f"http://{server.url}", f"grpc://{server.grpc_url}"]


@pytest.mark.parametrize("form", [0, 1, 2])
def test_an_image_gets_its_label_and_probability(
    trainserve: Trainserve, server: DevelopmentServer, sample: Path, form: int
) -> None:
    finished = trainserve("predict", sample, "--url", urls(server)[form])
    ((label, probability),) = expected(images(1))
    assert (finished.status, finished.err) == (0, "")
    assert finished.out.splitlines()[1].split() == [str(sample), "0", label, f"{probability:.4f}"]


def test_arrays_of_more_rows_than_a_batch_are_answered_row_by_row(
    trainserve: Trainserve, server: DevelopmentServer, fetched: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "many.npy", images(70, seed=5))
    finished = trainserve(
        "predict", "many.npy", fetched / "version/samples.npz", "--url", server.url, "--model", "digits", "-o", "json"
    )
    results = json.loads(finished.out)
    assert len(results) == 70 + 64
    found: list[Any] = [(each["label"], pytest.approx(each["probability"], rel=1e-4)) for each in results]
    assert expected(images(70, seed=5)) + expected(images(64)) == found
    assert [(each["file"], each["row"]) for each in results[69:71]] == [
        ("many.npy", 69),
        (str(fetched / "version/samples.npz"), 0),
    ]


def test_a_photo_is_brought_to_the_models_size_and_mode_and_that_is_said(
    trainserve: Trainserve, server: DevelopmentServer, tmp_path: Path
) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.jpg")
    finished = trainserve("predict", "photo.jpg", "--url", server.url)
    assert finished.status == 0
    assert finished.err == "trainserve: photo.jpg: converted RGB to greyscale, resized 64x48 to 28x28\n"


def test_one_sample_needs_no_batch_axis(trainserve: Trainserve, server: DevelopmentServer, tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", images(1)[0])
    finished = trainserve("predict", "one.npy", "--url", server.url)
    assert finished.out.splitlines()[1].split()[2] == expected(images(1))[0][0]


def save(folder: Path, *names: str) -> np.ndarray:
    """Write a 28x28 greyscale image under each name; return them (n, 28, 28, 1)."""
    pixels = images(len(names), seed=9)
    for name, image in zip(names, pixels, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[:, :, 0]).save(folder / name)
    return pixels


def test_a_folder_stands_for_the_images_in_and_below_it_in_order(
    trainserve: Trainserve, server: DevelopmentServer, tmp_path: Path
) -> None:
    pixels = save(tmp_path / "photos", "b.png", "a/2.png", "a/1.bmp", ".hidden.png", ".cache/3.png")
    (tmp_path / "photos" / "notes.txt").write_text("not asked for")
    finished = trainserve("predict", "photos", "--url", server.url, "-o", "csv")
    names, labels = zip(
        *((each["file"], each["label"]) for each in csv.DictReader(StringIO(finished.out))), strict=True
    )
    assert (finished.status, finished.err) == (0, "")
    assert names == ("photos/a/1.bmp", "photos/a/2.png", "photos/b.png")
    assert list(labels) == [label for label, _ in expected(pixels[[2, 1, 0]])]


def test_one_bad_file_names_itself_and_the_others_are_answered(
    trainserve: Trainserve, server: DevelopmentServer, tmp_path: Path
) -> None:
    pixels = save(tmp_path, "1.png", "2.png", "3.png")
    (tmp_path / "2.png").write_bytes(b"no image")
    finished = trainserve("predict", "1.png", "2.png", "3.png", "--url", server.url, "-o", "json")
    seen = [(each["file"], each["label"]) for each in json.loads(finished.out)]
    assert finished.status == 1
    assert seen == list(zip(("1.png", "3.png"), (label for label, _ in expected(pixels[[0, 2]])), strict=True))
    assert finished.err.splitlines() == [
        f"trainserve: 2.png: {UNREADABLE}: it begins with 6e6f2069",
        "trainserve: 1 of 3 files could not be read",
    ]


def test_the_most_probable_labels_in_every_form(
    trainserve: Trainserve, server: DevelopmentServer, sample: Path
) -> None:
    row = answers(convnet(), images(1))[0]
    order = np.argsort(-row)[:3]
    table, document, lines = (
        trainserve("predict", sample, "--url", server.url, "--top", 3, "-o", form).out
        for form in ("table", "json", "csv")
    )
    assert [line.split()[-2:] for line in table.splitlines()[1:]] == [[LABELS[i], f"{row[i]:.4f}"] for i in order]
    (seen,) = json.loads(document)
    assert [(each["index"], each["label"]) for each in seen["top"]] == [(i, LABELS[i]) for i in order]
    assert [each["probability"] for each in seen["top"]] == pytest.approx(row[order].tolist(), rel=1e-4)
    ranked = [(each["rank"], each["label"]) for each in csv.DictReader(StringIO(lines))]
    assert ranked == [(str(rank), LABELS[i]) for rank, i in enumerate(order, 1)]


@pytest.mark.parametrize("kind", ["image", "npy", "npz"])
def test_standard_input_is_an_image_or_an_array(
    trainserve: Trainserve, server: DevelopmentServer, sample: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    content = BytesIO()
    if kind == "npy":
        np.save(content, images(1))
    elif kind == "npz":
        np.savez(content, images=images(1))
    else:
        content.write(sample.read_bytes())
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(content.getvalue())))
    finished = trainserve("predict", "-", "--url", server.url)
    ((label, probability),) = expected(images(1))
    assert finished.out.splitlines()[1].split() == ["-", "0", label, f"{probability:.4f}"]


def test_standard_input_that_is_neither_is_one_line_and_exit_2(
    trainserve: Trainserve, server: DevelopmentServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b"hello")))
    finished = trainserve("predict", "-", "--url", server.url)
    assert (finished.status, finished.out) == (2, "")
    words = f"trainserve: -: neither an image nor an array (.npy, .npz): {UNREADABLE}: it begins with 68656c6c\n"
    assert finished.err == words


def test_files_can_be_named_in_a_list(
    trainserve: Trainserve, server: DevelopmentServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, "1.png", "with blank.png", "below/3.png")
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b"with blank.png\n\nbelow\n")))
    finished = trainserve("predict", "1.png", "--from-file", "-", "--url", server.url, "-o", "json")
    assert [each["file"] for each in json.loads(finished.out)] == ["1.png", "with blank.png", "below/3.png"]


def test_a_request_holds_as_many_rows_as_asked_for(
    trainserve: Trainserve, server: DevelopmentServer, tmp_path: Path
) -> None:
    def requests() -> float:
        with urllib.request.urlopen(server.metrics_url) as response:
            lines = response.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("nv_inference_request_success{"))

    np.save(tmp_path / "many.npy", images(70, seed=5))
    before = requests()
    trainserve("predict", "many.npy", "--url", server.url, "--batch", 10)
    assert requests() - before == 7 + 1  # plus the request for the labels


def test_several_addresses_share_the_work_and_one_that_is_down_costs_nothing(
    trainserve: Trainserve, server: DevelopmentServer, tmp_path: Path
) -> None:
    np.save(tmp_path / "many.npy", images(70, seed=5))
    finished = trainserve(
        "predict", "many.npy", "--url", "127.0.0.1:1", "--url", server.url, "--batch", 5, "-o", "json"
    )
    assert [each["label"] for each in json.loads(finished.out)] == [label for label, _ in expected(images(70, seed=5))]


def test_output_that_nobody_reads_is_no_error_message(server: DevelopmentServer, tmp_path: Path) -> None:
    np.save(tmp_path / "many.npy", images(64))
    program = [str(Path(sys.executable).parent / "trainserve"), "predict", "many.npy", "--url", server.url]
    reader, writer = os.pipe()
    os.close(reader)
    finished = subprocess.run(program, stdout=writer, stderr=subprocess.PIPE, cwd=tmp_path, check=False)
    os.close(writer)
    assert finished.stderr == b""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (np.zeros((1, 14, 14, 1), np.uint8), "takes uint8 [n, 28, 28, 1], given uint8 [1, 14, 14, 1]"),
        (np.zeros((1, 28, 28, 1)), "takes uint8 [n, 28, 28, 1], given float64 [1, 28, 28, 1]"),
        (np.zeros((0, 28, 28, 1), np.uint8), "have 0 rows"),
    ],
)
def test_an_array_that_does_not_fit_is_refused_naming_both_shapes(
    trainserve: Trainserve, server: DevelopmentServer, tmp_path: Path, content: np.ndarray, words: str
) -> None:
    np.save(tmp_path / "array.npy", content)
    finished = trainserve("predict", "array.npy", "--url", server.url)
    assert (finished.status, finished.out) == (2, "")
    (line,) = finished.err.splitlines()
    assert line.startswith("trainserve: array.npy: ")
    assert words in line


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.png", None, "No such file or directory"),
        ("text.png", b"not an image", "not a picture that can be read"),
        ("array.npy", b"not an array", "not a readable npy file"),
        ("empty.npy", b"", "not a readable npy file"),
        ("cut.npz", b"PK\x03\x04 cut off", "not a readable npz file"),
        ("notes.txt", b"", f"neither an image nor an array (.npy, .npz): {UNREADABLE}: it is empty"),
        ("nowhere", None, "No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line_and_exit_2(
    trainserve: Trainserve, server: DevelopmentServer, tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    finished = trainserve("predict", name, "--url", server.url)
    assert (finished.status, len(finished.err.splitlines())) == (2, 1)
    assert f"trainserve: {name}: " in finished.err
    assert words in finished.err


def test_an_archive_without_the_input_names_what_it_holds(
    trainserve: Trainserve, server: DevelopmentServer, tmp_path: Path
) -> None:
    np.savez(tmp_path / "other.npz", pictures=images(1))
    finished = trainserve("predict", "other.npz", "--url", server.url)
    assert finished.status == 2
    assert "no array named images, which the model takes; the file has pictures" in finished.err


def test_a_failed_request_is_one_line_and_exit_1(
    trainserve: Trainserve, server: DevelopmentServer, sample: Path
) -> None:
    finished = trainserve("predict", sample, "--url", "127.0.0.1:1")
    assert (finished.status, finished.out, len(finished.err.splitlines())) == (1, "", 1)
    assert "127.0.0.1:1: Connection refused" in finished.err


def test_a_model_that_is_not_served_is_answered_with_those_that_are(
    trainserve: Trainserve, server: DevelopmentServer, sample: Path
) -> None:
    finished = trainserve("predict", sample, "--url", server.url, "--model", "letters")
    assert (finished.status, finished.out, len(finished.err.splitlines())) == (2, "", 1)
    assert "serves digits; not letters" in finished.err


def test_every_way_to_damage_an_archive_is_one_line_and_exit_2(
    trainserve: Trainserve, server: DevelopmentServer, tmp_path: Path
) -> None:
    np.savez_compressed(tmp_path / "whole.npz", images=images(1))
    whole = (tmp_path / "whole.npz").read_bytes()
    damaged = [whole[: len(whole) // 2], whole[:60] + b"\xff" * 8 + whole[68:], whole[:-30], b"PK"]
    for content in damaged:
        (tmp_path / "damaged.npz").write_bytes(content)
        finished = trainserve("predict", "damaged.npz", "--url", server.url)
        assert (finished.status, len(finished.err.splitlines())) == (2, 1), content


def test_a_cluster_that_cannot_be_reached_is_one_line_and_exit_1(
    trainserve: Trainserve, sample: Path, tmp_path: Path
) -> None:
    finished = trainserve("predict", sample, "--serve", "digits", KUBECONFIG=str(tmp_path / "none"))
    assert (finished.status, finished.out, len(finished.err.splitlines())) == (1, "", 1)
    assert finished.err.startswith("trainserve: kubectl ")
