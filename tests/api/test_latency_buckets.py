"""Bounds of latency histograms, and their formatting in Prometheus' `le` labels."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from trainserve.api.latency_buckets import (
    DEFAULT,
    PROBE,
    TRITON,
    bounds,
    objective_buckets,
    triton_bounds,
    written,
)

OBJECTIVES = st.floats(1e-6, 1e6)


def python_labels(of: tuple[float, ...]) -> list[str]:
    """Return the bounds as the Python client writes them."""
    registry = CollectorRegistry()
    Histogram("h", "H.", buckets=of, registry=registry)
    family = next(iter(text_string_to_metric_families(generate_latest(registry).decode())))
    return [sample.labels["le"] for sample in family.samples if "le" in sample.labels][:-1]


@given(OBJECTIVES)
def test_bounds_rise_and_end_a_bucket_at_the_objective(objective: float) -> None:
    found = bounds(objective)
    assert list(found) == sorted(set(found))
    assert any(math.isclose(bound, objective, rel_tol=1e-5) for bound in found)
    assert found[0] < objective < found[-1]


@pytest.mark.parametrize("objective", [None, 0.0])
def test_without_an_objective_they_are_half_a_millisecond_to_two_seconds(objective: float | None) -> None:
    assert bounds(objective) == DEFAULT
    assert (DEFAULT[0], DEFAULT[-1]) == (0.0005, 2.0)
    assert objective_buckets(objective) == ()


@given(OBJECTIVES)
def test_one_bucket_of_each_histogram_has_the_label_that_the_rules_are_told(objective: float) -> None:
    told = objective_buckets(objective)
    probe = [le for family, le in told if family == PROBE]
    triton = [le for family, le in told if family == TRITON]
    assert len(set(probe) & set(python_labels(bounds(objective)))) == 1
    assert len(set(triton) & {f"{bound:.16g}" for bound in triton_bounds(objective)}) == 1
    assert {family for family, _ in told} == {PROBE, TRITON}
    assert len(told) <= 4, "each is a series of the ModelServe"


@given(OBJECTIVES)
def test_what_prometheus_3_reads_of_tritons_label_is_the_very_bound(objective: float) -> None:
    assert all(float(f"{bound:.16g}") == bound for bound in triton_bounds(objective))


@given(st.floats(1e-7, 1e8))
def test_a_bound_is_known_as_python_and_triton_write_it(bound: float) -> None:
    assert python_labels((bound,))[0] in written(bound)
    assert f"{bound:.16g}" in written(bound)
    assert len(written(bound)) <= 2


@pytest.mark.parametrize(
    ("bound", "labels"),
    [
        (20.0, ("20", "20.0")),
        (0.02, ("0.02",)),
        (19.9999, ("19.9999",)),
        (1e6, ("1000000", "1e+06")),
        (1.2e-5, ("1.2e-05",)),
        (8.999, ("8.999000000000001", "8.999")),
    ],
)
def test_prometheus_2_keeps_what_was_written_and_3_writes_it_as_go_does(bound: float, labels: tuple[str, ...]) -> None:
    assert written(bound) == labels


@given(OBJECTIVES, st.floats(0, 1e7))
def test_what_is_counted_in_whole_milliseconds_lies_in_the_bucket_that_its_true_latency_lies_in(
    objective: float, latency_ms: float
) -> None:
    """Triton counts floor(latency): each bound must separate values exactly as the next whole millisecond does."""
    for bound in triton_bounds(objective):
        assert (math.floor(latency_ms) <= bound) == (latency_ms < math.ceil(bound))


def test_tritons_bounds_are_whole_milliseconds_less_a_hair() -> None:
    assert triton_bounds(None)[:4] == (0.9999, 1.9999, 4.9999, 9.9999)
    assert triton_bounds(0.02) == (
        *(2.9999, 4.9999, 9.9999, 14.9999, 17.9999, 19.9999),
        *(24.9999, 29.9999, 39.9999, 79.9999, 159.9999, 319.9999),
    )
    assert triton_bounds(0.000_02) == (0.9999,), "Triton tells nothing apart below a millisecond"


@given(OBJECTIVES)
def test_tritons_bounds_rise_strictly_or_the_server_does_not_take_them(objective: float) -> None:
    found = triton_bounds(objective)
    assert found
    assert list(found) == sorted(set(found))
