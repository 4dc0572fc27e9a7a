from __future__ import annotations

import numpy as np
import pytest

from trainserve.serving.samples.comparison import compare

EXPECTED = {"probabilities": np.array([[0.1, 0.9], [0.8, 0.2], [0.5, 0.5]], np.float32)}


def test_equal_outputs_match() -> None:
    result = compare(EXPECTED, EXPECTED, rtol=1e-3, atol=1e-5)
    assert (result.matches, result.samples, result.max_abs, result.max_rel) == (True, 3, 0.0, 0.0)


def test_a_difference_within_the_tolerance_matches_and_is_reported() -> None:
    got = {"probabilities": EXPECTED["probabilities"] * np.float32(1.0005)}
    result = compare(EXPECTED, got, rtol=1e-3, atol=1e-5)
    assert result.matches
    assert result.max_abs == pytest.approx(0.00045, rel=1e-3)
    assert result.max_rel == pytest.approx(0.0005, rel=1e-2)


def test_the_worst_sample_is_named_with_both_values() -> None:
    got = {"probabilities": EXPECTED["probabilities"] + np.array([[0], [0.01], [0.002]], np.float32)}
    result = compare(EXPECTED, got, rtol=1e-3, atol=1e-5)
    assert not result.matches
    assert result.worst == 1
    assert "sample 1, output probabilities, expected [0.8, 0.2], got [0.81, 0.21]" in result.message


@pytest.mark.parametrize(
    ("got", "words"),
    [
        ({}, "output probabilities is missing; the server sent none"),
        ({"probabilities": np.zeros((3, 3))}, "shape [3, 3] instead of [3, 2]"),
        ({"probabilities": np.full((3, 2), np.nan)}, "sample 0"),
    ],
)
def test_what_is_not_an_answer_does_not_match(got: dict[str, np.ndarray], words: str) -> None:
    result = compare(EXPECTED, got, rtol=1e-3, atol=1e-5)
    assert not result.matches
    assert words in result.message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_matched_by_the_same_alone(value: float) -> None:
    recorded = {"probabilities": np.array([[0.5, value], [value, 0.25]])}
    result = compare(recorded, recorded, rtol=1e-3, atol=1e-5)
    assert (result.matches, result.max_abs, result.max_rel) == (True, 0.0, 0.0)
    for other in (0.0, np.nan, np.inf, -np.inf):
        got = {"probabilities": np.array([[0.5, other], [value, 0.25]])}
        same = other == value or (np.isnan(other) and np.isnan(value))
        assert compare(recorded, got, rtol=1e-3, atol=1e-5).matches == same
        assert compare(got, recorded, rtol=1e-3, atol=1e-5).matches == same


def test_texts_are_equal_or_not_whether_bytes_or_not() -> None:
    recorded = {"label": np.array(["cat", "zeb", "dög"], object)}
    got = {"label": np.array([b"cat", b"zeb", "dög".encode()], object)}
    assert compare(recorded, got, rtol=1e-3, atol=1e-5).matches
    result = compare(recorded, {"label": np.array([b"cat", b"ant", b"cow"], object)}, rtol=1e-3, atol=1e-5)
    assert not result.matches
    assert "worst: sample 1, output label, expected ['zeb'], got ['ant']" in result.message


def test_an_empty_answer_is_equal_to_an_empty_answer() -> None:
    empty = {"boxes": np.zeros((2, 0, 4), np.float32)}
    assert compare(empty, empty, rtol=1e-3, atol=1e-5).matches
    assert not compare(empty, {"boxes": np.zeros((2, 1, 4))}, rtol=1e-3, atol=1e-5).matches


def test_every_output_counts() -> None:
    expected = EXPECTED | {"features": np.ones((3, 4), np.float32)}
    result = compare(expected, EXPECTED | {"features": np.zeros((3, 4), np.float32)}, rtol=1e-3, atol=1e-5)
    assert not result.matches
    assert "output features" in result.message


TOP = {"probabilities": np.array([[0.2, 0.4001, 0.4], [0.1, 0.2, 0.7]], np.float32), "top": np.array([[1, 2], [2, 1]])}
POINTS = {"top": "probabilities"}


def test_of_two_classes_as_good_as_equal_either_may_come_first() -> None:
    got = {**TOP, "top": np.array([[2, 1], [2, 1]])}
    assert compare(TOP, got, rtol=1e-3, atol=1e-5, indexes=POINTS).matches
    assert not compare(TOP, got, rtol=1e-3, atol=1e-5).matches


@pytest.mark.parametrize("top", [[[1, 2], [2, 0]], [[1, 1], [2, 1]], [[1, 2], [2, 3]], [[1, 2], [-1, 1]]])
def test_a_wrong_a_repeated_and_an_impossible_class_do_not_match(top: list[list[int]]) -> None:
    result = compare(TOP, {**TOP, "top": np.array(top)}, rtol=1e-3, atol=1e-5, indexes=POINTS)
    assert not result.matches
    assert "output top" in result.message
