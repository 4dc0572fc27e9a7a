"""report.html: whole, small, harmless whatever users name, and never in the way of a version."""

import base64
import io
import logging
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trainserve import store
from trainserve.models.config import Dataset as DatasetConfig
from trainserve.models.data.dataset import Dataset
from trainserve.models.errors import PublishFailed
from trainserve.models.gates import Held, Scores, held
from trainserve.models.report import environment, figures, latency, page, pictures, provenance, words
from trainserve.models.report.facts import Facts, Known
from trainserve.serving.sources.source import open_servable

from .conftest import Config, FinishedRun, RunScript, digits_config
from .reports import classified, curves, facts, noise, regressed, without
from .scripts import EXPORT, MODEL, SAMPLES

Execute = Callable[[Config], dict[str, Any]]
EVIL = '<script>alert("1")</script>&\'$x^'
DIGITS = [str(digit) for digit in range(10)]


class Page(HTMLParser):
    """The elements of a page, its text, and every address that it names."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(content.decode())
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def addresses(self) -> list[str]:
        named = ("src", "href", "xlink:href", "action", "srcset", "data", "poster", "background")
        return [value or "" for _, attributes in self.elements for name, value in attributes.items() if name in named]

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def made(given: Facts) -> tuple[bytes, Page]:
    content = page.page(given)
    return content, Page(content)


def expect_nothing_from_elsewhere(content: bytes, parsed: Page) -> None:
    assert all(address.startswith(("data:image/", "#")) for address in parsed.addresses)
    assert all(inside.startswith("#") for inside in re.findall(r"url\(([^)]*)\)", content.decode()))
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in parsed.elements}
    assert b"@import" not in content
    policy = [attributes for tag, attributes in parsed.elements if tag == "meta" and "http-equiv" in attributes]
    assert [each["content"] for each in policy] == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_a_runs_report_is_in_its_version_with_its_digest(digits_run: FinishedRun) -> None:
    content = (digits_run.version / "report.html").read_bytes()
    parsed = Page(content)
    manifest = open_servable(str(digits_run.version)).manifest
    assert manifest is not None
    assert manifest.files["report.html"].bytes == len(content)
    expect_nothing_from_elsewhere(content, parsed)
    for told in (
        "default/digits",
        "Confusion matrix",
        "Precision and recall",
        "Expected calibration error",
        "p50",
        "gates.minAccuracy at least 0.95",
        "PyTorch's answers",
        "355 samples",
        "scikit-learn's copy of the UCI digits",
        '"learningRate": 0.001',
    ):
        assert told in parsed.text, told
    assert parsed.count("svg") >= 4
    assert str(digits_run.root) not in content.decode(), "where the store is is nobody's business"


def test_where_energy_was_not_measured_the_report_says_why(digits_run: FinishedRun) -> None:
    text = Page((digits_run.version / "report.html").read_bytes()).text
    energy = digits_run.message["result"]["energy"]
    assert (energy["reason"] if energy["joules"] is None else f"{energy['joules']:.5g} J") in text


def test_a_gpu_without_a_counter_is_told_and_the_processors_beside_it() -> None:
    _, parsed = made(facts(DIGITS, None))
    assert "not measured reason GPU-1: Not Supported processors 81.5 J (RAPL), not part of the above" in parsed.text


def test_measured_energy_has_its_source() -> None:
    energy = store.Energy(joules=7200.0, source="nvml", joules_per_epoch=720.0, joules_per_image=0.5, grams_co2e=0.11)
    _, parsed = made(facts(DIGITS, None, energy=energy))
    assert "7200 J (0.002 kWh) source the GPUs' own counters (NVML)" in parsed.text
    assert "0.11 gCO₂e" in parsed.text


@pytest.mark.parametrize("count", [2, 20, 21, 200, 201])
def test_labels_names_and_configuration_are_text_whatever_they_hold(count: int) -> None:
    given = facts(
        [f"{EVIL}{number}" for number in range(count)],
        classified([EVIL] * count, noise(400, 8, 8, 1)),
        spec={EVIL: {"script": EVIL}},
        train_job=store.TrainJobRef(name=EVIL),
        energy=store.Energy(reason=EVIL),
        inputs=[store.Tensor(name=EVIL, dtype="uint8", shape=[-1, 8, 8, 1])],
    )
    known = Known({"path": EVIL}, given.known.tested, [EVIL])
    content, parsed = made(without(given, namespace=EVIL, model=EVIL, known=known, environment={"GPU": EVIL}))
    assert b"<script" not in content
    assert EVIL in parsed.text
    expect_nothing_from_elsewhere(content, parsed)


@pytest.mark.parametrize("labels", [["a", EVIL], [f"{EVIL}{number}" for number in range(150)]])
def test_a_regression_has_residuals_instead_of_classes(labels: list[str]) -> None:
    content, parsed = made(facts(labels, regressed(len(labels)), metrics=store.Metrics(accuracy=None, loss=0.04)))
    assert "root mean square" in parsed.text
    assert "Confusion matrix" not in parsed.text
    assert EVIL in parsed.text
    assert len(content) < page.LIMIT
    expect_nothing_from_elsewhere(content, parsed)


def test_a_regression_that_answers_no_numbers_is_told() -> None:
    tested = regressed(1)
    tested.answers.given[:] = np.nan
    _, parsed = made(facts(["width"], tested))
    assert "no finite answer" in parsed.text


@pytest.mark.parametrize(
    ("classes", "label", "shape", "dtype"),
    [
        (1000, "<&\"'>" * 60, (224, 224, 3), np.uint8),
        (1000, "ẅ" * 500, (3, 96, 96), np.float32),
        (20, "<&\"'>" * 60, (500, 400, 4), np.uint8),
        (200, "🦆" * 60, (1, 2), np.float32),
        (30, "'" * 60, (6000,), np.float32),
    ],
)
def test_the_page_stays_below_a_megabyte(classes: int, label: str, shape: tuple[int, ...], dtype: type) -> None:
    samples = np.broadcast_to(noise(*shape).astype(dtype), (2 * classes, *shape))
    labels = [f"{label}{number}" for number in range(classes)]
    given = facts(
        labels,
        classified(labels, samples, right=0.2),
        curves=curves(20_000),
        spec={"options": {label: [label] * 1000}},
        inputs=[store.Tensor(name=label, dtype="uint8", shape=[-1, *shape])],
        outputs=[store.Tensor(name=label, dtype="uint8", shape=[-1, *shape])] * 50,
    )
    content, parsed = made(given)
    assert len(content) < page.LIMIT
    assert "manifest.json has all" in parsed.text
    expect_nothing_from_elsewhere(content, parsed)


def test_of_very_many_classes_the_worst_are_shown_and_all_are_folded() -> None:
    labels = [f"class {number}" for number in range(1000)]
    _, parsed = made(facts(labels, classified(labels, noise(4000, 8, 8, 1))))
    assert "The 30 classes with the lowest F1, of 1,000." in parsed.text
    assert parsed.count("details") == 1
    assert "too many for a matrix" in parsed.text
    assert "class 999" in parsed.text


def test_twenty_four_mistakes_are_pictures_where_samples_are() -> None:
    _, parsed = made(facts(DIGITS, classified(DIGITS, noise(200, 28, 28, 1), right=0.5)))
    assert parsed.count("img") == 24
    _, parsed = made(facts(DIGITS, classified(DIGITS, noise(200, 40), right=0.5)))
    assert parsed.count("img") == 0
    assert "The samples are not images." in parsed.text


def test_without_mistakes_it_says_so() -> None:
    _, parsed = made(facts(DIGITS, classified(DIGITS, noise(50, 8, 8, 1), right=1.0)))
    assert "None: every answer is right." in parsed.text


def test_what_is_not_known_is_said_to_be_missing() -> None:
    given = facts(DIGITS, None, curves=None, metrics=store.Metrics(accuracy=None, loss=None))
    known = Known({"data set": "the script's own"}, None, ["Curves: the script reported no epoch."])
    _, parsed = made(without(given, known=known, timings="RuntimeError: no", gates=[]))
    for told in (
        "No curves",
        "none were measured",
        "Not measured: RuntimeError: no",
        "reported no epoch",
        "No gate on a score was set",
    ):
        assert told in parsed.text


def test_more_than_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "LIMIT", 1000)
    with pytest.raises(page.TooLarge, match="must be fewer than 1000"):
        page.page(facts(DIGITS, None))


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


def test_nothing_of_the_environments_variables_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t-of-the-environment")
    content = page.page(without(facts(DIGITS, None), environment=environment.environment()))
    assert b"s3cr3t" not in content


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


def test_a_checked_digest_is_in_the_report(execute: Execute, stripes: Callable[..., Path], tmp_path: Path) -> None:
    from trainserve.models.data import digests

    path = stripes()
    execute(stripes_config(path, tmp_path / "store", digest=digests.of(path)))
    assert digests.of(path).encode() in (tmp_path / "store/default/stripes/1/report.html").read_bytes()


def stripes_config(path: Path, root: Path, **dataset: Any) -> Config:
    return {
        "model": {"name": "convnet", "options": {"channels": 4, "hidden": 8}},
        "dataset": {"path": str(path), **dataset},
        "trainer": {"epochs": 1},
        "store": {"root": str(root)},
        "output": {"model": "stripes"},
    }


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("drawn\nbadly"), "RuntimeError: drawn badly"),
        (MemoryError(), "MemoryError"),
        (ImportError("No module named 'x'"), "ImportError: No module named 'x'"),
    ],
)
def test_a_report_that_cannot_be_made_costs_a_line_and_not_the_version(
    execute: Execute,
    stripes: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    error: Exception,
    told: str,
) -> None:
    def fail(*arguments: object, **named: object) -> str:
        raise error

    monkeypatch.setattr(figures, "lines", fail)
    message = execute(stripes_config(stripes(), tmp_path / "store"))
    assert message["outcome"] == "Published"
    assert sorted(store.manifest(tmp_path / "store", "default", "stripes", 1).files) == ["model.onnx", "samples.npz"]
    out, err = capfd.readouterr()
    (line,) = [line for line in out.splitlines() if "report: not published: " in line]
    assert line.endswith(f"report: not published: {told}")
    assert err == ""


def test_a_report_that_cannot_be_written_is_a_failure_to_publish(
    execute: Execute, stripes: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "output/report.html").mkdir(parents=True)
    with pytest.raises(PublishFailed, match=r"cannot write .*output/report\.html: Is a directory"):
        execute(stripes_config(stripes(), tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_a_scripts_model_has_a_report_that_says_what_it_does_not_know(run_script: RunScript, tmp_path: Path) -> None:
    from .scripts import PUBLISH

    run_script(PUBLISH)
    parsed = Page((tmp_path / "store/default/mine/1/report.html").read_bytes())
    for told in ("as the script left it", "Confusion matrix", "loaded by the script itself", "2 points over"):
        assert told in parsed.text


def test_a_scripts_own_file_has_a_report_of_what_is_known(run_script: RunScript, tmp_path: Path) -> None:
    run_script(MODEL + EXPORT)
    parsed = Page((tmp_path / "store/default/mine/1/report.html").read_bytes())
    for told in ("no curves", "the script reported no epoch", "Answers to a test split: the script left none", "p50"):
        assert told.lower() in parsed.text.lower()


def test_a_scripts_own_samples_are_compared_with(run_script: RunScript, tmp_path: Path) -> None:
    run_script(MODEL + EXPORT + SAMPLES)
    text = Page((tmp_path / "store/default/mine/1/report.html").read_bytes()).text
    assert "the answers that the script recorded" in text


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


def test_a_full_disk_is_a_failure_to_publish(
    execute: Execute, stripes: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report is the file that no longer fits."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.decode()}")
    try:
        monkeypatch.setenv("TRAINSERVE_OUTPUT", str(small))
        with pytest.raises(PublishFailed, match=r"cannot write .*report\.html: No space left on device"):
            execute(stripes_config(stripes(), tmp_path / "store"))
        assert not (tmp_path / "store").exists()
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_version_of_a_run_by_config_is_whole(digits_run: FinishedRun) -> None:
    assert sorted(path.name for path in digits_run.version.iterdir()) == [
        "manifest.json",
        "model.onnx",
        "report.html",
        "samples.npz",
    ]
    assert digits_run.config["output"] == digits_config("x")["output"]
