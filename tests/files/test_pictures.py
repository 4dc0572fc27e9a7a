"""Pictures as users have them: a file decodes to the right pixels, or is refused with a reason."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trainserve.files import pictures
from trainserve.files.pictures import BadPicture, Look

NOISE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
RAMP = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
"""0, 257 ... 65535: each maps exactly to one of 0 ... 255."""
EIGHT = np.arange(256, dtype=np.uint8).reshape(16, 16)


def file(image: Image.Image, kind: str = "PNG", **options: Any) -> io.BytesIO:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    buffer.seek(0)
    return buffer


def pixels(of: io.BytesIO) -> np.ndarray:
    return np.asarray(pictures.decode(of).image)


TURNS = {
    1: lambda image: image,
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: lambda image: np.transpose(image, (1, 0, 2)),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(np.transpose(image, (1, 0, 2)), 2),
    8: lambda image: np.rot90(image),
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", TURNS)
def test_exif_turns_a_picture_upright_once_in_every_format(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = file(Image.fromarray(NOISE), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    assert pictures.look(content).turned == (orientation != 1)
    assert np.array_equal(pixels(content), TURNS[orientation](NOISE))
    assert ("turned upright" in pictures.decode(content).done) == (orientation != 1)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_leaves_the_picture_as_it_is_stored() -> None:
    content = file(Image.fromarray(NOISE), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert not pictures.look(content).turned
    assert np.array_equal(pixels(content), NOISE)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (file(Image.fromarray(RAMP), "PNG"), "scaled 16 bits to 8"),
        (file(Image.fromarray(RAMP), "TIFF"), "scaled 16 bits to 8"),
        (file(Image.fromarray(RAMP), "PPM"), "scaled 16 bits to 8"),
        (file(Image.fromarray(65535 - RAMP), "TIFF", tiffinfo={262: 0}), "scaled 16 bits to 8"),  # WhiteIsZero
        (file(Image.fromarray(RAMP.astype(np.int32)), "TIFF"), "scaled 32-bit values of 0..65535 to 8 bits"),
        (file(Image.fromarray(EIGHT.astype(np.int32)), "TIFF"), "took 32-bit values as 0..255"),
        (file(Image.fromarray(EIGHT.astype(np.float32) / 255), "TIFF"), "scaled floats of 0..1 to 8 bits"),
        (file(Image.fromarray(EIGHT.astype(np.float32)), "TIFF"), "took floats of 0..255 as 8 bits"),
    ],
)
def test_deep_values_are_scaled_by_what_they_mean_not_clipped(content: io.BytesIO, words: str) -> None:
    decoded = pictures.decode(content)
    assert (decoded.image.mode, decoded.done) == ("L", (words,))
    assert np.array_equal(np.asarray(decoded.image), EIGHT)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.array([[0, 70000]], np.int32), "32-bit values 0..70000; must be 0..255 or 0..65535"),
        (np.array([[-1, 3]], np.int32), "32-bit values -1..3; must be"),
        (np.array([[0, 4095]], np.float32), "floats of 0..4095; must be 0..1 or 0..255"),
        (np.array([[-0.5, 1]], np.float32), "floats of -0.5..1; must be"),
        (np.array([[np.nan, 1]], np.float32), "holds floats that are not finite numbers"),
    ],
)
def test_values_whose_meaning_nobody_knows_are_refused(values: np.ndarray, words: str) -> None:
    with pytest.raises(BadPicture, match=words):
        pictures.decode(file(Image.fromarray(values), "TIFF"))


def test_what_is_transparent_is_laid_on_white() -> None:
    image = Image.fromarray(NOISE).convert("RGBA")
    alpha = np.full((5, 7), 255, np.uint8)
    alpha[0] = 0
    image.putalpha(Image.fromarray(alpha))
    decoded = pictures.decode(file(image))
    expected = NOISE.copy()
    expected[0] = 255
    assert np.array_equal(np.asarray(decoded.image), expected)
    assert decoded.done == ("laid on white where it is transparent",)
    assert pictures.decode(file(Image.fromarray(NOISE).convert("RGBA"))).done == ()
    grey = pictures.decode(file(image.convert("LA"))).image
    assert (grey.mode, np.asarray(grey)[0].tolist()) == ("L", [255] * 7)


def test_a_palettes_hidden_colour_is_laid_on_white_too() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 10, 10])
    image.putpixel((0, 0), 0)
    assert pixels(file(image, transparency=0))[0, :2].tolist() == [[255, 255, 255], [200, 10, 10]]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue", "green")]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = file(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert pictures.look(content).frames
    assert (pixels(content) == [255, 0, 0]).all()
    assert "took the first frame" in pictures.decode(content).done


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (Image.fromarray(EIGHT), "PNG", Look(grey=True)),
        (Image.fromarray(EIGHT).convert("1"), "PNG", Look(grey=True)),
        (Image.fromarray(EIGHT).convert("LA"), "PNG", Look(grey=True, alpha=True)),
        (Image.fromarray(RAMP), "PNG", Look(grey=True, deep="16-bit")),
        (Image.fromarray(NOISE), "JPEG", Look(grey=False)),
        (Image.fromarray(NOISE).convert("CMYK"), "JPEG", Look(grey=False)),
        (Image.fromarray(NOISE).convert("P"), "PNG", Look(grey=False)),
        (Image.fromarray(NOISE), "BMP", Look(grey=False)),
        (Image.fromarray(EIGHT.astype(np.float32)), "TIFF", Look(grey=True, deep="float")),
    ],
)
def test_a_look_tells_by_the_header_what_a_picture_is_like(image: Image.Image, kind: str, expected: Look) -> None:
    assert pictures.look(file(image, kind)) == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"hello", "it begins with 68656c6c"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a git-lfs pointer"),
        (b"\n<!DOCTYPE html><html>", "it is a web page"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "it is heic, which must be converted"),
        (b"\x89PNG\r\n\x1a\n\0\0", "it begins as a PNG does, and is truncated or damaged"),
    ],
)
def test_what_is_no_picture_is_told_by_what_it_is(content: bytes, words: str) -> None:
    with pytest.raises(BadPicture, match=rf"^not a picture that can be read \(PNG, JPEG, .*\): {words}"):
        pictures.look(io.BytesIO(content))


def test_a_mode_that_has_no_meaning_here_is_refused() -> None:
    with pytest.raises(BadPicture, match="its mode is LAB; must be grey, RGB, a palette or CMYK"):
        pictures.look(file(Image.fromarray(NOISE).convert("LAB"), "TIFF"))


@given(share=st.floats(0, 1, exclude_max=True), kind=st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP"]))
def test_a_picture_cut_short_is_an_error_with_words_or_whole(share: float, kind: str) -> None:
    whole = file(Image.fromarray(NOISE), kind).getvalue()
    try:
        assert pictures.decode(io.BytesIO(whole[: int(len(whole) * share)])).image.size == (7, 5)
    except BadPicture as error:
        assert str(error).startswith(("not a picture that can be read", "truncated or damaged"))


def test_names_of_pictures_are_those_people_use() -> None:
    assert all(map(pictures.is_named_picture, ["a.JPG", "b.jpeg", "c.webp", "d.HEIC", "e.tiff", "f.jfif"]))
    assert not any(map(pictures.is_named_picture, ["Thumbs.db", "desktop.ini", "README", "a.txt", "png"]))
