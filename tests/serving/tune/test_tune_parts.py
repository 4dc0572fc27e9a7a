"""The tuner's candidates, its choice, and its report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.serving.simulated import REFERENCES, Behaviour, Simulated, named, run
from trainserve.api.triton import DynamicBatching, Queue
from trainserve.serving.load import chart
from trainserve.serving.load.chart import Chart, Series, UnknownFormat
from trainserve.serving.load.record import Sample
from trainserve.serving.repository.settings import Settings
from trainserve.serving.samples import load_inputs
from trainserve.serving.tune import plot, saved
from trainserve.serving.tune.candidates import candidates, layouts, references
from trainserve.serving.tune.choice import judged, rounded_up
from trainserve.serving.tune.result import Result, Subject, described, wire
from trainserve.serving.tune.search import search
from trainserve.serving.tune.trial import Load, Measurement, Objective, Trial

SUBJECT = Subject("digits", "sha256:" + "ab" * 32, {"cpu": "a cpu", "cores": 2}, "triton 1")
OBJECTIVE = Objective(40.0)


@pytest.fixture(scope="module")
def result() -> Result:
    names = [*(each.name for each in named(6)), "defaults", "naive"]
    found = {name: Behaviour(1000 + 100 * number, 1.0) for number, name in enumerate(names)}
    seen = run(search(named(6), REFERENCES, OBJECTIVE, 120), Simulated(found, 0.02))
    return Result(SUBJECT, OBJECTIVE, (*named(6), *REFERENCES), tuple(seen), 119.0)


@pytest.mark.parametrize(
    ("cores", "expected"), [(1, [(1, 1)]), (2, [(1, 1), (1, 2), (2, 1)]), (4, [(1, 1), (1, 4), (2, 2), (4, 1)])]
)
def test_layouts_share_out_the_cores(cores: int, expected: list[tuple[int, int]]) -> None:
    assert layouts(cores) == expected


def test_the_first_candidates_are_of_every_kind() -> None:
    first = [described(each.settings) for each in candidates(2, batched=True, p99_ms=20)[:4]]
    assert first == [
        "batch 64, 1 x 1 threads",
        "batch 64, 1 x 2 threads",
        "batch 64, 2 x 1 threads",
        "batch 64, delay 500us, 1 x 1 threads",
    ]


def test_no_candidate_waits_longer_than_the_objective_allows() -> None:
    delays = {each.settings.dynamic_batching.max_queue_delay for each in candidates(2, batched=True, p99_ms=8)}
    assert delays == {None, "500us", "2ms"}


def test_a_graph_without_batch_axis_leaves_the_layout_alone_to_choose() -> None:
    tried = [each.settings for each in candidates(2, batched=False, p99_ms=20)]
    assert [(each.instances, each.threads) for each in tried] == layouts(2)


def test_what_is_not_measured_stays_as_it_was_given() -> None:
    base = Settings(warmup=True, dynamic_batching=DynamicBatching(queue=Queue(size=100)))
    for each in candidates(2, batched=True, p99_ms=20, base=base):
        assert each.settings.warmup and each.settings.dynamic_batching.queue.size == 100


def test_the_references_are_tritons_defaults_and_no_batching() -> None:
    assert [(each.role, described(each.settings)) for each in references(2)] == [
        ("defaults", "batch 4, 2 x 2 threads"),
        ("naive", "batch 1, 1 x 2 threads"),
    ]


def test_the_choice_is_written_as_settings_are_read() -> None:
    given = candidates(2, batched=True, p99_ms=40)[7].settings
    written = json.dumps(wire(given))
    assert Settings.of_json(written) == given
    assert set(json.loads(written)) == {"instances", "threads", "dynamicBatching"}


def test_a_result_is_read_back_as_it_was(result: Result) -> None:
    written = json.dumps(result.as_dict())
    assert Result.of_dict(json.loads(written)) == result
    assert json.loads(written)["choice"]["name"] == "defaults"


def test_a_result_is_found_for_the_same_model_machine_server_and_question_only(result: Result, tmp_path: Path) -> None:
    where = saved.path(tmp_path, SUBJECT, OBJECTIVE, [4.0])
    assert saved.find(where) is None
    saved.keep(result, where)
    assert saved.find(where) == result
    others = [
        saved.path(tmp_path, Subject("digits", "sha256:" + "cd" * 32, SUBJECT.hardware, "triton 1"), OBJECTIVE, [4.0]),
        saved.path(tmp_path, Subject("digits", SUBJECT.digest, {"cores": 4}, "triton 1"), OBJECTIVE, [4.0]),
        saved.path(tmp_path, Subject("digits", SUBJECT.digest, SUBJECT.hardware, "triton 2"), OBJECTIVE, [4.0]),
        saved.path(tmp_path, SUBJECT, Objective(40.0, rate=500.0), [4.0]),
        saved.path(tmp_path, SUBJECT, OBJECTIVE, [8.0]),
    ]
    assert len({where, *others}) == 6 and not any(map(saved.find, others))


def test_a_torn_result_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"format": 1, "subject"')
    assert saved.find(tmp_path / "a.json") is None


def rounds(p99s: list[float], **others: object) -> list[Measurement]:
    trial = Trial("c00", "confirm", Load(1.0, rate=1000.0))
    given = {"rate": 1000.0, "requests": 1000} | others
    return [Measurement(trial, p50_ms=each / 2, p99_ms=each, **given) for each in p99s]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("p99s", "others", "holds"),
    [
        ([10.0] * 7, {}, True),
        ([10.0] * 6 + [500.0], {}, True),
        ([10.0] * 5 + [500.0] * 2, {}, False),
        ([36.0] * 7, {}, True),
        ([37.0] * 7, {}, False),
        ([10.0] * 7, {"errors": 1}, False),
        ([10.0] * 7, {"requests": 20}, True),
        ([10.0] * 6 + [500.0], {"requests": 20}, False),
        ([10.0] * 7, {"requests": 10}, False),
        ([10.0] * 7, {"unanswered": 1}, False),
        ([10.0] * 7, {"waiting": 36}, True),
        ([10.0] * 7, {"waiting": 200}, False),
    ],
)
def test_an_objective_is_held_with_a_margin_by_all_rounds_but_one(
    p99s: list[float], others: dict[str, int], holds: bool
) -> None:
    found = judged(rounds(p99s, **others), OBJECTIVE)
    assert found is not None and found.holds is holds


def test_a_figure_is_rounded_up_to_two_digits() -> None:
    assert [rounded_up(each) for each in (12.01, 0.551, 20.0, 199.1)] == [13, 0.56, 20, 200]


def test_of_few_requests_the_slowest_is_the_99th_percentile() -> None:
    sample = Sample(np.array([0.01, 0.02, 0.03]), 1.0, 3, 0)
    assert Measurement.of(Trial("c00", "rate", Load(1.0, rate=3.0)), sample, 1.2).p99_ms == pytest.approx(30)


@pytest.mark.parametrize("name", ["table.png", "table.svg"])
def test_the_table_is_drawn(result: Result, tmp_path: Path, name: str) -> None:
    chart.write(plot.chart(result), tmp_path / name)
    if name.endswith("png"):
        with Image.open(tmp_path / name) as image:
            assert image.size == (1920, 1120)
            assert len(image.getcolors(1 << 24) or ()) > 20
    else:
        drawn = (tmp_path / name).read_text()
        for words in ("objective 40 ms", "chosen: batch 64", "naive", "closed loop, "):
            assert words in drawn


def test_words_from_outside_are_text_in_a_drawing(tmp_path: Path) -> None:
    chart.write(Chart("<script>&", "x", "y", [Series("a", [(1, 1), (3, 9)])]), tmp_path / "a.svg")
    assert "&lt;script&gt;&amp;" in (tmp_path / "a.svg").read_text()


def test_another_form_of_drawing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownFormat, match=r"a\.pdf: a plot is written as \.svg or \.png"):
        chart.write(Chart("a", "x", "y", [Series("a", [(1, 1)])]), tmp_path / "a.pdf")


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(1, 10, [1, 2, 5, 10]), (0.3, 3, [0.5, 1, 2]), (1, 1e5, [1, 10, 100, 1e3, 1e4, 1e5])]
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert chart.ticks(low, high) == pytest.approx(expected)


def test_random_requests_have_the_inputs_shapes_and_differ() -> None:
    found = load_inputs.random([("images", np.dtype("uint8"), (-1, 4, 4)), ("size", np.dtype("float32"), (-1, 2))])
    assert {(row["images"].shape, row["images"].dtype.name) for row in found} == {((1, 4, 4), "uint8")}
    assert len({row["images"].tobytes() for row in found}) == len(found)
    with pytest.raises(load_inputs.ShapeUnknown, match=r"input images: shape \[-1, -1, 4\] has an axis"):
        load_inputs.random([("images", np.dtype("uint8"), (-1, -1, 4))])
