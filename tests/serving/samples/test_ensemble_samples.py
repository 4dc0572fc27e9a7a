"""Comparison of an ensemble's answers with the recorded ones. On a server: test_verified_ensembles.py."""

from __future__ import annotations

import numpy as np
import pytest

from trainserve.serving.samples.comparison import Comparison
from trainserve.serving.samples.ensemble_samples import compare_labelled

TEXTS = ["ant", "bee", "crane", "crane"]
CLASSES = np.array([[0.1, 0.4001, 0.4, 0.0999], [0.1, 0.0, 0.2, 0.7], [0.7, 0.1, 0.0, 0.2]])
LABELS = [["bee", "crane"], ["crane", "crane"], ["ant", "crane"]]
SCORES = [[0.4001, 0.4], [0.7, 0.2], [0.7, 0.2]]


def compared(labels: list[list[str]], scores: list[list[float]] = SCORES) -> Comparison:
    """Compare these labels and scores with the recorded answers to samples 5, 6 and 7."""
    encoded = np.array([[label.encode() for label in row] for row in labels], object)
    got = {"labels": encoded, "scores": np.array(scores, np.float32)}
    return compare_labelled(TEXTS, CLASSES, got, 1e-3, 1e-5, np.array([5, 6, 7]))


def test_two_classes_of_one_label_may_both_be_among_the_best() -> None:
    assert compared(LABELS).matches


def test_of_two_labels_as_good_as_equal_either_may_come_first() -> None:
    assert compared([["crane", "bee"], *LABELS[1:]]).matches


@pytest.mark.parametrize("row", [["ant", "bee"], ["crane", "gnu"], ["crane", "ant"]])
def test_another_an_unknown_and_a_worse_label_are_named_with_the_sample(row: list[str]) -> None:
    found = compared([LABELS[0], row, LABELS[2]])
    assert (found.matches, found.worst, found.output) == (False, 6, "labels")
    assert f"worst: sample 6, output labels, expected ['crane', 'crane'], got {row}" in found.message


def test_labels_are_told_apart_though_the_tolerance_is_that_of_8_bits() -> None:
    got = {"labels": np.array([[b"bee"], [b"bee"]], object), "scores": np.array([[0.98], [0.97]])}
    classes = np.array([[0.98, 0.01, 0.01, 0.0], [0.02, 0.97, 0.01, 0.0]])
    found = compare_labelled(TEXTS, classes, got, 0, 0.5, np.arange(2))
    assert (found.matches, found.worst, found.output) == (False, 0, "labels")


def test_a_label_cannot_be_given_more_often_than_there_are_classes_of_it() -> None:
    assert not compared([["bee", "bee"], *LABELS[1:]]).matches


def test_a_wrong_score_is_named_with_the_sample() -> None:
    found = compared(LABELS, [SCORES[0], SCORES[1], [0.7, 0.3]])
    assert (found.matches, found.worst, found.output) == (False, 7, "scores")
    assert "worst: sample 7, output scores, expected [0.7, 0.2], got [0.7, 0.3]" in found.message


def test_scores_that_are_right_but_not_the_best_do_not_match() -> None:
    assert (
        compared([["bee", "crane"], ["crane", "ant"], ["ant", "crane"]], [[0.4001, 0.4], [0.7, 0.1], [0.7, 0.2]]).output
        == "scores"
    )


def test_a_missing_output_is_named() -> None:
    found = compare_labelled(TEXTS, CLASSES, {"scores": np.array(SCORES)}, 1e-3, 1e-5, np.array([5, 6, 7]))
    assert (found.matches, found.output) == (False, "labels")
    assert "output labels is missing" in found.message
