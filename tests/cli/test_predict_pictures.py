"""`predict` sends a picture as the same array that training makes of the file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Trainserve
from tests.serving.graphs import convnet
from tests.serving.versions import LABELS, answers
from trainserve.cli.inputs import load
from trainserve.client import ModelInfo, TensorInfo
from trainserve.models.data import pixels
from trainserve.serving.devserver.server import DevelopmentServer

SHADES = np.random.default_rng(3).integers(0, 256, (40, 28), dtype=np.uint8)
COLOURS = np.random.default_rng(4).integers(0, 256, (40, 28, 3), dtype=np.uint8)
SIDEWAYS = Image.Exif()
SIDEWAYS[0x0112] = 6


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


PICTURES = {
    "grey.png": encoded(Image.fromarray(SHADES), "PNG"),
    "photo.jpg": encoded(Image.fromarray(COLOURS), "JPEG"),
    "sideways.jpg": encoded(Image.fromarray(COLOURS), "JPEG", exif=SIDEWAYS),
    "sideways.tif": encoded(Image.fromarray(COLOURS), "TIFF", exif=SIDEWAYS),
    "named.jpg": encoded(Image.fromarray(COLOURS), "PNG"),
    "modern.webp": encoded(Image.fromarray(COLOURS), "WEBP"),
    "deep.png": encoded(Image.fromarray(SHADES.astype(np.uint16) * 257), "PNG"),
    "float.tif": encoded(Image.fromarray(SHADES.astype(np.float32) / 255), "TIFF"),
    "palette.gif": encoded(Image.fromarray(COLOURS).convert("P"), "GIF"),
    "alpha.png": encoded(Image.fromarray(np.dstack([COLOURS, SHADES])), "PNG"),
    "press.jpg": encoded(Image.fromarray(COLOURS).convert("CMYK"), "JPEG"),
}


def model(channels: int) -> ModelInfo:
    taken = TensorInfo("images", np.dtype(np.uint8), (-1, 28, 28, channels))
    gives = TensorInfo("probabilities", np.dtype(np.float32), (-1, 2))
    return ModelInfo("pets", "1", 8, (taken,), (gives,))


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3)])
def test_a_picture_is_asked_as_it_was_trained_on(tmp_path: Path, name: str, mode: Any, channels: int) -> None:
    (tmp_path / name).write_bytes(PICTURES[name])
    asked = load(str(tmp_path / name), model(channels)).inputs["images"]
    form = pixels.form(PICTURES[name], name, (28, 28), mode)
    assert np.array_equal(asked[0], pixels.decode(PICTURES[name], name, form))


def test_sixteen_bits_and_floats_get_the_answer_of_the_eight_bit_picture_and_it_is_said(
    trainserve: Trainserve, server: DevelopmentServer, tmp_path: Path
) -> None:
    square = SHADES[:28]
    Image.fromarray(square.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(square.astype(np.float32) / 255).save(tmp_path / "float.tif")
    row = answers(convnet(), square[None, ..., None])[0]
    for name, words in (("deep.png", "scaled 16 bits to 8"), ("float.tif", "scaled floats of 0..1 to 8 bits")):
        finished = trainserve("predict", name, "--url", server.url)
        assert finished.out.splitlines()[1].split() == [name, "0", LABELS[row.argmax()], f"{row.max():.4f}"]
        assert finished.err == f"trainserve: {name}: {words}\n"


def test_a_picture_on_its_side_is_asked_upright_and_it_is_said(
    trainserve: Trainserve, server: DevelopmentServer, tmp_path: Path
) -> None:
    square = SHADES[:28]
    stored = Image.fromarray(square).transpose(Image.Transpose.ROTATE_90)
    stored.save(tmp_path / "sideways.png", exif=SIDEWAYS)
    finished = trainserve("predict", "sideways.png", "--url", server.url)
    row = answers(convnet(), square[None, ..., None])[0]
    assert finished.out.splitlines()[1].split()[2:] == [LABELS[row.argmax()], f"{row.max():.4f}"]
    assert finished.err == "trainserve: sideways.png: turned upright\n"


def test_a_picture_without_a_pictures_name_is_one_by_its_content(
    trainserve: Trainserve, server: DevelopmentServer, tmp_path: Path
) -> None:
    Image.fromarray(SHADES[:28]).save(tmp_path / "upload", "PNG")
    finished = trainserve("predict", "upload", "--url", server.url)
    assert (finished.status, finished.err) == (0, "")


def test_a_truncated_picture_is_named(trainserve: Trainserve, server: DevelopmentServer, tmp_path: Path) -> None:
    whole = encoded(Image.fromarray(COLOURS), "JPEG")
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    finished = trainserve("predict", "cut.jpg", "--url", server.url)
    assert finished.status == 2
    assert finished.err.startswith("trainserve: cut.jpg: truncated or damaged: ")
