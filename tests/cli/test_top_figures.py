from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainserve.cli.top import figures
from trainserve.cli.top.figures import LEAST, P99, Served
from trainserve.cli.top.history import LATENCY_SECONDS, RATE_SECONDS, History, Scrape

INF = math.inf
near: Callable[[float], Any] = pytest.approx
"""Stands for a number inside an expected value."""
BOUNDS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)

TRITON = b"""\
# HELP nv_inference_request_success Number of successful inference requests, all batch sizes
# TYPE nv_inference_request_success counter
nv_inference_request_success{model="digits",version="1"} 42
# HELP nv_inference_count Number of inferences performed (does not include cached requests)
# TYPE nv_inference_count counter
nv_inference_count{model="digits",version="1"} 43
nv_cpu_utilization 0.25
"""
HISTOGRAM = b"""\
# TYPE nv_inference_first_response_histogram_ms histogram
nv_inference_first_response_histogram_ms_count{model="digits",version="1"} 42
nv_inference_first_response_histogram_ms_sum{model="digits",version="1"} 100
nv_inference_first_response_histogram_ms_bucket{model="digits",version="1",le="0.5"} 2
nv_inference_first_response_histogram_ms_bucket{model="digits",version="1",le="1"} 40
nv_inference_first_response_histogram_ms_bucket{model="digits",version="1",le="+Inf"} 42
"""
PROBE = b"""\
# TYPE trainserve_probe_inference_duration_seconds histogram
trainserve_probe_inference_duration_seconds_bucket{le="0.001"} 10.0
trainserve_probe_inference_duration_seconds_bucket{le="0.0025"} 29.0
trainserve_probe_inference_duration_seconds_bucket{le="+Inf"} 30.0
trainserve_probe_inference_duration_seconds_count 30.0
trainserve_probe_up 1.0
"""

latencies = st.lists(st.floats(0.001, 60), min_size=1, max_size=200)
shares = st.floats(0.01, 0.999)


def histogram(values: list[float]) -> dict[float, float]:
    """Return the cumulative buckets of a server that observed these values."""
    return {bound: float(sum(value <= bound for value in values)) for bound in (*BOUNDS, INF)}


@given(latencies, shares)
def test_a_quantile_is_what_numpy_interpolates_in_the_bucket_that_holds_it(values: list[float], share: float) -> None:
    found = figures.quantile(share, histogram(values))
    counts = np.array([0.0, *(histogram(values)[bound] for bound in BOUNDS)])
    edges = np.array([0.0, *BOUNDS])
    rank = share * len(values)
    if rank > counts[-1]:
        assert found == BOUNDS[-1]
        return
    bucket = int(np.searchsorted(counts, rank, side="left"))
    assert found == pytest.approx(np.interp(rank, counts[bucket - 1 : bucket + 1], edges[bucket - 1 : bucket + 1]))
    true = float(np.quantile(values, share, method="inverted_cdf"))
    assert edges[bucket - 1] <= true <= edges[bucket] or rank == pytest.approx(counts[bucket])


@given(st.lists(latencies, min_size=1, max_size=5))
def test_pooled_histograms_are_those_of_all_observations_together(pods: list[list[float]]) -> None:
    assert figures.pooled([histogram(values) for values in pods]) == histogram([v for values in pods for v in values])


@given(latencies, latencies)
def test_what_a_histogram_grew_by_is_what_was_observed_in_between(before: list[float], since: list[float]) -> None:
    assert figures.grown([histogram(before), histogram(before + since)]) == histogram(since)


@given(st.lists(st.floats(0, 1000), min_size=2, max_size=20))
def test_a_rate_is_the_sum_of_the_rises_over_the_time(rises: list[float]) -> None:
    points = list(enumerate(np.cumsum(rises).tolist()))
    assert figures.rate(points) == pytest.approx(float(np.sum(rises[1:])) / (len(rises) - 1), abs=1e-6)


def test_a_server_that_began_anew_loses_no_more_than_what_nobody_saw() -> None:
    assert figures.rate([(0.0, 100.0), (1.0, 110.0), (2.0, 4.0), (3.0, 10.0)]) == pytest.approx((10 + 4 + 6) / 3)
    old, new = histogram([1, 2, 3]), histogram([4])
    assert figures.grown([old, new]) == new


@pytest.mark.parametrize("points", [[], [(1.0, 5.0)], [(1.0, 5.0), (1.0, 6.0)]])
def test_one_scrape_is_no_rate(points: list[tuple[float, float]]) -> None:
    assert figures.rate(points) is None


def test_histograms_with_other_bounds_are_pooled_by_the_bounds_that_both_have() -> None:
    assert figures.pooled([{1.0: 2.0, 5.0: 3.0, INF: 4.0}, {5.0: 1.0, INF: 1.0}]) == {5.0: 4.0, INF: 5.0}


@pytest.mark.parametrize("empty", [{}, {INF: 0.0}, {INF: 9.0}, {1.0: 3.0}, {1.0: 0.0, INF: 0.0}])
def test_a_histogram_without_observations_or_bounds_has_no_quantile(empty: dict[float, float]) -> None:
    assert figures.quantile(0.99, empty) is None
    assert figures.p99(empty, "server") is None


def test_a_p99_of_few_requests_is_none() -> None:
    assert figures.p99({1.0: LEAST - 1.0, INF: LEAST - 1.0}, "server") is None
    assert figures.p99({1.0: float(LEAST), INF: float(LEAST)}, "server") == P99(0.99, "server")


def test_a_p99_beyond_the_last_bound_says_so() -> None:
    assert figures.p99({1.0: 90.0, 2.0: 95.0, INF: 100.0}, "probe") == P99(2.0, "probe", beyond=True)


def test_a_servers_page_gives_its_requests_and_the_histogram_where_there_is_one() -> None:
    assert figures.served(TRITON) == Served(42.0)
    assert figures.served(TRITON + HISTOGRAM) == Served(42.0, {0.5: 2.0, 1.0: 40.0, INF: 42.0})


def test_an_ensembles_requests_are_counted_once_and_its_latency_is_the_ensembles() -> None:
    parts = {"digits": 50, "digits-ensemble": 30, "digits-labels": 30, "digits-preprocessing": 30}
    page = "".join(f'nv_inference_request_success{{model="{name}"}} {count}\n' for name, count in parts.items())
    whole = HISTOGRAM.replace(b"digits", b"digits-ensemble").replace(b" 42", b" 43")
    assert figures.served(page.encode()) == Served(50.0)
    assert figures.served(page.encode() + HISTOGRAM + whole) == Served(50.0, {0.5: 2.0, 1.0: 40.0, INF: 43.0})


@pytest.mark.parametrize(
    ("names", "asked"),
    [
        (["digits"], "digits"),
        (["a-labels"], "a-labels"),
        (["a", "a-ensemble", "a-labels"], "a"),
        (["a-labels", "a-labels-ensemble", "a-labels-labels"], "a-labels"),
        (["a", "b"], None),
        ([], None),
    ],
)
def test_the_model_that_clients_ask_is_the_one_that_is_no_part_of_an_ensemble(names: list[str], asked: str) -> None:
    assert figures.model_of(names) == asked


def test_the_probes_page_gives_its_histogram_in_milliseconds() -> None:
    assert figures.probed(PROBE) == {1.0: 10.0, 2.5: 29.0, INF: 30.0}
    assert figures.probed(b"trainserve_probe_up 1\n") is None


@pytest.mark.parametrize(
    "page",
    [
        b"\xff\xfe",
        b"nv_inference_request_success{model=\n",
        b'nv_inference_request_success{model="a"} many\n',
        b'trainserve_probe_inference_duration_seconds_bucket{le="NaN"} 1\n',
        b'trainserve_probe_inference_duration_seconds_bucket{le="soon"} 1\n',
        b"trainserve_probe_inference_duration_seconds_bucket 1\n",
    ],
)
def test_a_page_that_is_none_is_refused(page: bytes) -> None:
    with pytest.raises(ValueError):
        assert figures.served(page) is None and figures.probed(page) is None


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-3"])
def test_a_counter_that_is_no_count_is_not_there(value: str) -> None:
    assert figures.served(f'nv_inference_request_success{{model="a"}} {value}\n'.encode()) is None


@pytest.mark.parametrize("answer", [b"", b"[]", b"1", b"{", b"[" * 100_000, b"\xff"])
def test_a_progress_that_is_no_object_is_refused(answer: bytes) -> None:
    with pytest.raises(ValueError):
        figures.progress(answer)


def server(at: float, requests: float, latency: dict[float, float] | None = None) -> Scrape:
    return Scrape(at, Served(requests, latency), None)


def test_rates_of_pods_are_added_and_their_latencies_pooled() -> None:
    history = History()
    assert not history
    for pod, speed in (("a", 10.0), ("b", 5.0)):
        history.add(pod, server(0.0, 100.0, {1.0: 0.0, 2.0: 0.0, INF: 0.0}))
        history.add(pod, server(2.0, 100.0 + 2 * speed, {1.0: 10.0, 2.0: 20.0, INF: 20.0}))
    rate, p99 = history.figures(["a", "b", "gone"])
    assert rate == pytest.approx(15.0)
    assert p99 == P99(near(1.98), "server")


def test_one_pods_failure_costs_its_own_share_alone() -> None:
    history = History()
    history.add("a", server(0.0, 0.0))
    history.add("a", server(1.0, 7.0))
    history.add("b", Scrape(0.0, None, None))
    history.add("b", Scrape(1.0, None, None))
    assert history.figures(["a", "b"]) == (near(7.0), None)
    assert history.figures(["b"]) == (None, None)


def test_where_the_servers_have_no_histogram_the_probes_is_taken() -> None:
    history = History()
    history.add("a", Scrape(0.0, Served(0.0), {1.0: 0.0, 2.0: 0.0, INF: 0.0}))
    history.add("a", Scrape(30.0, Served(30.0), {1.0: 0.0, 2.0: 30.0, INF: 30.0}))
    assert history.figures(["a"])[1] == P99(near(1.99), "probe")


def test_a_rate_is_of_the_last_seconds_and_nothing_is_kept_for_longer_than_a_minute() -> None:
    history = History()
    for second in range(200):
        history.add("a", server(float(second), 0.0 if second < 150 else 100.0 * (second - 150)))
    assert history.figures(["a"])[0] == pytest.approx(100.0)
    assert RATE_SECONDS < 49 < LATENCY_SECONDS
    history.add("a", server(199.0 + LATENCY_SECONDS + 1, 0.0))
    assert history.figures(["a"])[0] is None
    history.keep([])
    assert not history
