"""report.html: complete, small, safe for any names; if it cannot be made, the version is published without it."""

import re
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainserve import store
from trainserve.models.errors import PublishFailed
from trainserve.models.report import environment, figures, page
from trainserve.models.report.facts import Facts, Known
from trainserve.serving.sources.source import open_servable

from .conftest import Config, FinishedRun, RunScript, digits_config
from .reports import classified, curves, facts, noise, regressed, without
from .scripts import EXPORT, MODEL, SAMPLES

Execute = Callable[[Config], dict[str, Any]]
EVIL = '<script>alert("1")</script>&\'$x^'
DIGITS = [str(digit) for digit in range(10)]


class Page(HTMLParser):
    """The elements of a page, its text, and every address that it references."""

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


def test_nothing_of_the_environments_variables_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t-of-the-environment")
    content = page.page(without(facts(DIGITS, None), environment=environment.environment()))
    assert b"s3cr3t" not in content


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
