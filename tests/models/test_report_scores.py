"""A report's scores equal scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    confusion_matrix,
    mean_absolute_error,
    precision_recall_fscore_support,
    r2_score,
    root_mean_squared_error,
)

from trainserve.models.report import scores

classes = st.integers(2, 12)
seeds = st.integers(0, 10**6)


def answers(seed: int, count: int, size: int) -> tuple[scores.Ints, scores.Ints]:
    random = np.random.default_rng(seed)
    truth = random.integers(0, count, size)
    return truth, np.where(random.random(size) < 0.6, truth, random.integers(0, count, size))


@settings(max_examples=50)
@given(seed=seeds, count=classes, size=st.integers(1, 80))
def test_precision_and_recall(seed: int, count: int, size: int) -> None:
    truth, given = answers(seed, count, size)
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, given, labels=range(count), zero_division=np.nan
    )
    for each in scores.by_class(truth, given, count):
        number = each.number
        assert each.samples == support[number]
        assert each.precision == (None if np.isnan(precision[number]) else pytest.approx(precision[number]))
        assert each.recall == (None if np.isnan(recall[number]) else pytest.approx(recall[number]))
        if each.samples:
            assert each.f1 == pytest.approx(np.nan_to_num(f1[number]))


@settings(max_examples=50)
@given(seed=seeds, count=classes, size=st.integers(1, 80))
def test_the_matrix_and_the_list_of_confusions(seed: int, count: int, size: int) -> None:
    truth, given = answers(seed, count, size)
    expected = confusion_matrix(truth, given, labels=range(count))
    assert (scores.matrix(truth, given, count) == expected).all()
    listed = scores.confusions(truth, given, count**2)
    assert sum(each.count for each in listed) == (truth != given).sum()
    assert all(expected[each.truth, each.given] == each.count for each in listed)
    assert [each.count for each in listed] == sorted((each.count for each in listed), reverse=True)


@settings(max_examples=50)
@given(seed=seeds, size=st.integers(1, 200))
def test_calibration(seed: int, size: int) -> None:
    random = np.random.default_rng(seed)
    confidence, right = random.random(size), random.random(size) < 0.7
    bins = scores.calibration(confidence, right)
    accuracy, sureness = calibration_curve(right, confidence, n_bins=scores.BINS)
    assert [each.accuracy for each in bins] == pytest.approx(accuracy)
    assert [each.confidence for each in bins] == pytest.approx(sureness)
    assert sum(each.count for each in bins) == size
    expected = sum(each.count * abs(a - c) for each, a, c in zip(bins, accuracy, sureness, strict=True)) / size
    assert scores.calibration_error(bins) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("confidence", "right", "error"),
    [([1.0, 1.0], [True, True], 0.0), ([1.0, 1.0], [True, False], 0.5), ([0.95, 0.05], [False, True], 0.95)],
)
def test_the_calibration_error_is_how_far_confidence_and_accuracy_are_apart(
    confidence: list[float], right: list[bool], error: float
) -> None:
    bins = scores.calibration(np.array(confidence), np.array(right))
    assert scores.calibration_error(bins) == pytest.approx(error)


def test_a_confidence_that_is_no_number_counts_as_none() -> None:
    (only,) = scores.calibration(np.array([np.nan]), np.array([True]))
    assert (only.low, only.confidence, only.accuracy) == (0.0, 0.0, 1.0)


@settings(max_examples=50)
@given(seed=seeds, size=st.integers(0, 60), most=st.integers(1, 30))
def test_mistakes_are_wrong_and_the_surest_come_first(seed: int, size: int, most: int) -> None:
    truth, given = answers(seed, 3, size)
    confidence = np.random.default_rng(seed).random(size)
    chosen = scores.mistakes(truth, given, confidence, most)
    wrong = np.flatnonzero(truth != given)
    assert len(chosen) == min(most, len(wrong))
    assert {*chosen.tolist()} <= {*wrong.tolist()}
    assert (np.diff(confidence[chosen]) <= 0).all()
    if len(chosen) < len(wrong):
        left = np.setdiff1d(wrong, chosen)
        assert confidence[left].max() <= confidence[chosen].min()


@settings(max_examples=50)
@given(seed=seeds, size=st.integers(2, 60))
def test_residuals(seed: int, size: int) -> None:
    random = np.random.default_rng(seed)
    truth, given = random.normal(size=size), random.normal(size=size)
    found = scores.residuals(truth, given)
    assert found.rmse == pytest.approx(root_mean_squared_error(truth, given))
    assert found.mae == pytest.approx(mean_absolute_error(truth, given))
    assert found.r2 == pytest.approx(r2_score(truth, given))
    assert found.bias == pytest.approx(np.mean(given - truth))


def test_a_constant_target_has_no_r2() -> None:
    assert scores.residuals(np.ones(3), np.zeros(3)).r2 is None


def test_the_worst_classes_come_first_and_those_without_samples_not_at_all() -> None:
    truth, given = np.array([0, 0, 1, 1, 2]), np.array([0, 0, 1, 2, 1])
    assert [each.number for each in scores.worst_first(scores.by_class(truth, given, 4))] == [2, 1, 0]


@settings(max_examples=50)
@given(count=st.integers(0, 1000), most=st.integers(2, 100))
def test_positions_are_evenly_spread_with_both_ends(count: int, most: int) -> None:
    chosen = scores.evenly(count, most).tolist()
    assert len(chosen) == min(count, most)
    if count:
        assert chosen[0] == 0 and chosen[-1] == (count - 1 if len(chosen) > 1 else 0)
