"""Parts of a report: pictures, latency, environment, charts, gates and wording."""

import base64
import io
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trainserve.models.config import Dataset as DatasetConfig
from trainserve.models.data.dataset import Dataset
from trainserve.models.gates import Held, Scores, held
from trainserve.models.report import environment, figures, latency, pictures, provenance, words

from .conftest import Config
from .reports import noise


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((28, 28, 1), (28, 28)),
        ((28, 28), (28, 28)),
        ((3, 20, 30), (20, 30)),
        ((20, 30, 4), (20, 30)),
        ((500, 250, 3), (96, 48)),
    ],
)
def test_a_sample_becomes_a_picture_of_at_most_96_pixels(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    picture = pictures.pixels(noise(*shape))
    assert picture is not None
    kind, _, content = pictures.address(picture).partition(",")
    assert kind in ("data:image/png;base64", "data:image/jpeg;base64")
    assert len(base64.b64decode(content)) <= pictures.LIMIT
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == size[::-1]


@pytest.mark.parametrize("shape", [(40,), (5, 7, 2), (2, 3, 4, 5), (1, 9, 1), ()])
def test_what_is_no_picture_has_none(shape: tuple[int, ...]) -> None:
    assert pictures.pixels(noise(*shape)) is None


def test_values_that_are_no_bytes_are_stretched_over_the_picture() -> None:
    picture = pictures.pixels(np.array([[-3.0, 1.0], [np.nan, 5.0]]))
    assert picture is not None
    assert picture.tolist() == [[0, 128], [96, 255]]


@settings(max_examples=50)
@given(
    taken=st.lists(st.floats(1e-4, 0.5), min_size=1, max_size=400),
    one_ms=st.floats(1e-3, 1e4),
)
def test_the_graph_is_timed_no_longer_than_a_moment(taken: list[float], one_ms: float) -> None:
    now, runs = 0.0, iter(taken * 4000)

    def run() -> None:
        nonlocal now
        now += next(runs)

    timings = latency.measure(lambda batch: run, clock=lambda: now)
    assert 1 <= len(timings) <= 2
    assert timings[0].batch == 1
    for timing in timings:
        assert timing.p50_ms <= timing.slowest_ms
        assert (timing.p99_ms is None) == (timing.runs < latency.ENOUGH)
    batch = latency.larger(one_ms, latency.SECONDS)
    assert batch == 1 or 2 * batch * one_ms <= latency.SECONDS * 1000


def test_a_slow_graph_is_run_a_few_times_only() -> None:
    now, runs = 0.0, 0

    def run() -> None:
        nonlocal now, runs
        now, runs = now + 10.0, runs + 1

    (timing,) = latency.measure(lambda batch: run, clock=lambda: now)
    assert (timing.runs, runs, timing.p99_ms) == (1, 2, None)


def test_the_processor_is_named(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: A Processor @ 2 GHz\n")
    assert environment.processor(tmp_path / "cpuinfo") == "A Processor @ 2 GHz"
    assert environment.processor(tmp_path / "absent")


def test_drawing_leaves_matplotlibs_settings_and_everybodys_home_alone(tmp_path: Path) -> None:
    code = """
import os, sys, warnings
warnings.simplefilter("error")
from trainserve.models.report import figures
figures.load()
import matplotlib
def settings():
    return {name: dict.__getitem__(matplotlib.rcParams, name) for name in matplotlib.rcParams}
before = settings()
with figures.drawing():
    figures.lines("loss", [figures.Line("a", [1, 2], [1.0, None])], "epochs")
assert settings() == before
assert "matplotlib.pyplot" not in sys.modules
assert "MPLCONFIGDIR" not in os.environ
"""
    home = tmp_path / "home"
    home.mkdir()
    variables = {"HOME": str(home), "PATH": os.environ["PATH"]}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [*home.iterdir()] == []


def test_matplotlibs_own_words_go_unheard(capfd: pytest.CaptureFixture[str]) -> None:
    with figures.drawing(), warnings.catch_warnings():
        logging.getLogger("matplotlib.font_manager").warning("findfont: not found")
        warnings.warn("Glyph missing", UserWarning, stacklevel=1)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("gates", "exported", "expected"),
    [
        ({}, None, []),
        ({"minAccuracy": 0.9}, None, [Held("gates.minAccuracy", "at least 0.9", "0.9500")]),
        ({"maxLoss": 0.5}, None, [Held("gates.maxLoss", "at most 0.5", "0.2")]),
        (
            {"minAccuracy": 0.9},
            Scores(0.945, 0.3),
            [
                Held("gates.minAccuracy", "at least 0.9", "0.9450 of the exported file"),
                Held("gates.maxAccuracyDrop", "at most 0.01", "0.0050 below PyTorch's"),
            ],
        ),
    ],
)
def test_gates_are_told_with_what_was_measured(gates: Config, exported: Scores | None, expected: list[Held]) -> None:
    from trainserve.models.config import Gates

    assert held(Gates.model_validate(gates), Scores(0.95, 0.2), exported) == expected


@settings(max_examples=50)
@given(text=st.text(), most=st.integers(2, 50))
def test_a_text_is_cut_and_says_so(text: str, most: int) -> None:
    cut = words.short(text, most)
    assert len(cut) <= most
    assert "\n" not in cut
    assert cut.endswith("…") or cut == " ".join(text.split())


@pytest.mark.parametrize(("count", "told"), [(12, "12 bytes"), (1400, "1.4 kB"), (2_778_607, "2.78 MB")])
def test_sizes_are_worded(count: int, told: str) -> None:
    assert words.size(count) == told


@pytest.mark.parametrize(
    ("config", "digest", "told"),
    [
        ({"name": "digits"}, None, "built in"),
        ({"uri": "https://example.org/x.npz"}, "sha256:1", "sha256:1"),
        ({"path": "x.npz"}, None, "none: dataset.digest was not set"),
    ],
)
def test_the_data_sets_origin_is_told(config: Config, digest: str | None, told: str) -> None:
    images = np.zeros((2, 4, 4, 1), np.uint8)
    dataset = Dataset("x", images, np.arange(2), images, np.arange(2), ["a", "b"], digest=digest)
    assert told in " ".join(provenance.provenance(DatasetConfig.model_validate(config), dataset).values())
