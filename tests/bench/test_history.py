"""The synthetic week of a large cluster: its events and their times."""

from __future__ import annotations

import pickle
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from bench.dashboards import Span, since
from bench.history import blocks, fleet, recorded
from bench.history.clock import BLOCK, DAY, HOUR, Clock
from bench.history.series import Series, number
from trainserve.api.metrics import METRICS, serving, training
from trainserve.dev.cluster import CHART


@pytest.fixture(scope="module")
def week() -> Clock:
    return Clock(7 * DAY)


def test_scrapes_are_a_minute_apart_and_in_the_last_hours_15_seconds(week: Clock) -> None:
    steps = np.diff(week.times)
    assert (week.times[0], week.times[-1]) == (week.end - 7 * DAY, week.end - 15)
    assert set(steps[: week.index(week.end - 6 * HOUR)].tolist()) == {60}
    assert set(steps[week.index(week.end - 6 * HOUR) :].tolist()) == {15}


def test_every_scrape_lies_in_one_block_of_those_that_prometheus_would_make(week: Clock) -> None:
    windows = week.windows()
    assert windows[0][0] == 0
    assert windows[-1][1] == len(week.times)
    assert all(earlier[1] == later[0] for earlier, later in pairwise(windows))
    for first, past in windows:
        assert len(set((week.times[first:past] // BLOCK).tolist())) == 1


def test_a_series_is_written_within_a_window_only() -> None:
    stamps = [f" {time}\n" for time in (10, 20, 30, 40)]
    rising = Series("a", {"b": "c"}, 1, 4, np.asarray([1.0, 2.5, 3.0]))
    assert rising.lines((0, 3), stamps) == 'a{b="c"} 1 20\na{b="c"} 2.5 30\n'
    assert rising.lines((3, 4), stamps) == 'a{b="c"} 3 40\n'
    assert rising.lines((0, 1), stamps) == ""
    assert Series("a", {"b": "c"}, 1, 3, 7.0).lines((0, 4), stamps) == 'a{b="c"} 7 20\na{b="c"} 7 30\n'


@pytest.mark.parametrize(
    ("value", "written"), [(3.0, "3"), (1e12, "1000000000000"), (0.1234567, "0.123457"), (0.0, "0")]
)
def test_numbers_are_written_as_an_exporter_does(value: float, written: str) -> None:
    assert number(value) == written


def test_no_two_series_are_the_same_at_one_time() -> None:
    clock = Clock(DAY)
    seen: dict[tuple[object, ...], list[tuple[int, int]]] = {}
    for each in blocks.cluster(40, 6, clock):
        if each.first < each.past:
            seen.setdefault((each.name, *sorted(each.labels.items())), []).append((each.first, each.past))
    for stretches in seen.values():
        assert all(earlier[1] <= later[0] for earlier, later in pairwise(sorted(stretches)))


def test_counters_never_fall() -> None:
    for each in blocks.cluster(20, 3, Clock(DAY)):
        if each.name.endswith(("_total", "_count", "_bucket", "_sum")) and not isinstance(each.values, float):
            assert np.all(np.diff(each.values) >= 0), (each.name, each.labels)


def test_buckets_hold_those_below_them() -> None:
    by_bound: dict[tuple[object, ...], list[tuple[float, float]]] = {}
    for each in blocks.cluster(3, 2, Clock(DAY)):
        if each.name.endswith("_bucket") and not isinstance(each.values, float):
            labels = {name: value for name, value in each.labels.items() if name != "le"}
            bound = float(each.labels["le"].replace("+Inf", "inf"))
            by_bound.setdefault((each.name, *sorted(labels.items())), []).append((bound, each.values[-1]))
    assert by_bound
    for buckets in by_bound.values():
        counts = [count for _, count in sorted(buckets)]
        assert counts == sorted(counts)


def test_names_and_labels_are_those_of_the_definitions() -> None:
    targets = {"namespace", "trainjob", "modelserve", "model", "version", "attempt", "pod", "job", "instance"}
    found: set[str] = set()
    for each in blocks.cluster(20, 3, Clock(DAY)):
        if not each.name.startswith("trainserve_"):
            continue
        family = each.name
        for suffix in ("_bucket", "_sum", "_count"):
            if family not in METRICS:
                family = each.name.removesuffix(suffix)
        metric = METRICS[family]
        assert set(metric.labels) <= set(each.labels), each.name
        assert set(each.labels) - set(metric.labels) - targets <= {"le"}, each.name
        found.add(family)
    mine = {metric.name for group in (training.RUN, serving.PROBE) for metric in group.metrics}
    assert mine <= found


def test_jobs_run_one_to_three_hours_and_some_still_run_at_the_end(week: Clock) -> None:
    jobs = fleet.jobs(week, 1000)
    assert all(HOUR <= job.ended - job.began <= 3 * HOUR for job in jobs)
    assert 3 <= sum(job.began < week.end < job.ended for job in jobs) <= 30
    assert jobs == fleet.jobs(week, 1000)


def test_a_service_has_one_release_at_a_time_from_start_to_end(week: Clock) -> None:
    for serve in fleet.serves(week, 50):
        assert (serve.releases[0].began, serve.releases[-1].ended) == (week.start, week.end)
        assert all(earlier.ended == later.began for earlier, later in pairwise(serve.releases))


def test_the_series_can_be_made_in_another_process() -> None:
    making = pickle.loads(pickle.dumps(partial(blocks.cluster, 1, 1)))
    assert sum(1 for _ in making(Clock(HOUR))) > 100


def test_rules_of_rules_are_asked_after_those_that_they_need() -> None:
    base, ratio = recorded.Rule("a:b", "rate(m[5m])", {}), recorded.Rule("a:c", "a:b / on () sum(a:b:d)", {})
    again, other = recorded.Rule("a:b", "x unless a:b", {"s": "2"}), recorded.Rule("a:b:d", "m", {})
    assert recorded.levels([ratio, again, base, other]) == [[base, other], [again], [ratio]]
    with pytest.raises(ValueError, match="one another"):
        recorded.levels([recorded.Rule("x", "y", {}), recorded.Rule("y", "x", {})])


def test_every_recording_rule_of_the_chart_has_its_turn() -> None:
    rules = recorded.read(CHART / "files" / "rules")
    assert rules
    assert sum(map(len, recorded.levels(rules))) == len(rules)


def test_a_recorded_series_goes_straight_between_points_and_ends_with_them(tmp_path: Path) -> None:
    clock = Clock(DAY)
    points = [[clock.start, "0"], [clock.start + 1800, "30"], [clock.start + 7200, "5"]]
    path = tmp_path / "answers.json"
    path.write_text(f'[["a:b", {{"c": "d"}}, {points}]]'.replace("'", '"'))
    first, second = recorded.series(path, clock)
    assert (first.first, first.past) == (0, 60)
    assert isinstance(first.values, np.ndarray)
    assert first.values[:31].tolist() == list(range(31))
    assert (second.first, second.past) == (120, 150)


@pytest.mark.parametrize(
    ("text", "seconds"), [("now-1h", HOUR), ("now-24h", DAY), ("now-7d", 7 * DAY), ("now-15m", 900)]
)
def test_a_boards_own_range_is_read(text: str, seconds: int) -> None:
    assert since(text) == seconds


@pytest.mark.parametrize(
    ("seconds", "step", "rate"), [(900, 15, "60s"), (HOUR, 15, "60s"), (DAY, 87, "240s"), (7 * DAY, 605, "665s")]
)
def test_queries_have_the_steps_that_grafana_gives_them(seconds: int, step: int, rate: str) -> None:
    span = Span(seconds)
    assert (span.step, span.intervals["__rate_interval"]) == (step, rate)
