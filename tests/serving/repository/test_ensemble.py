"""The graphs around a model, run by plain onnxruntime. On a server: test_configured_server.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from trainserve.api.triton import Ensemble
from trainserve.serving.repository import ensemble
from trainserve.serving.repository.ensemble import Step
from trainserve.serving.repository.repository import Entry, layout
from trainserve.serving.repository.settings import InvalidSettings, Settings
from trainserve.serving.sources.servable import Servable
from trainserve.store import Preprocessing, Tensor

RGB = Preprocessing(scale=1 / 255, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225], by="client")


def run(step: Step, given: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    session = onnxruntime.InferenceSession(step.graph, providers=["CPUExecutionProvider"])
    return session.run(None, {step.inputs[0].name: given})


@pytest.mark.parametrize(
    ("shape", "given", "dtype", "tolerance"),
    [
        ([-1, 3, 16, 12], (16, 12, 3), "float32", 1e-6),
        ([-1, 16, 12, 3], (16, 12, 3), "float32", 1e-6),
        ([-1, 3, -1, -1], (5, 7, 3), "float32", 1e-6),
        ([4, 3, 16, 12], (16, 12, 3), "float16", 1e-2),
    ],
)
def test_preprocessing_does_what_the_manifest_says_a_client_would(
    shape: list[int], given: tuple[int, ...], dtype: str, tolerance: float
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, *given), dtype=np.uint8)
    step = ensemble.preprocessing("step", Tensor(name="x", dtype=dtype, shape=shape), RGB)
    (got,) = run(step, images)
    expected = (images * RGB.scale - np.array(RGB.mean)) / np.array(RGB.std)
    expected = expected.transpose(0, 3, 1, 2) if shape[1] == 3 else expected
    assert got.dtype == dtype
    np.testing.assert_allclose(got.astype(np.float64), expected, rtol=tolerance, atol=tolerance)


def test_labels_are_those_of_the_best_scores_in_their_order() -> None:
    step = ensemble.labels(
        "step", Tensor(name="p", dtype="float32", shape=[-1, 3]), ["a", "naïve", "c"], Ensemble(top=2)
    )
    labels, scores = run(step, np.array([[0.1, 0.7, 0.2], [0.5, 0.1, 0.4]], np.float32))
    assert labels.tolist() == [["naïve", "c"], ["a", "c"]]
    np.testing.assert_allclose(scores, [[0.7, 0.2], [0.5, 0.4]])


def test_softmax_makes_probabilities_of_logits() -> None:
    wanted = Ensemble(top=2, softmax=True)
    step = ensemble.labels("step", Tensor(name="p", dtype="float16", shape=[-1, 2]), ["a", "b"], wanted)
    _, scores = run(step, np.array([[0, np.log(3)]], np.float16))
    np.testing.assert_allclose(scores, [[0.75, 0.25]], atol=1e-3)


@pytest.fixture(scope="module")
def model(fetched: Path) -> Servable:
    """A model with its own preprocessing and with labels."""
    return Servable.of_version(fetched / "version")


def test_a_graph_that_does_its_own_preprocessing_gets_labels_alone(model: Servable) -> None:
    names = [folder.config.name for folder in layout([Entry("digits", model, Settings(ensemble=Ensemble()))])]
    assert names == ["digits", "digits-labels", "digits-ensemble"]


@pytest.mark.parametrize(
    ("change", "wanted", "words"),
    [
        ({"labels": ()}, Ensemble(), "model digits has neither preprocessing that is left to the client nor labels"),
        ({}, Ensemble(top=11), "settings.ensemble.top: 11 is not allowed; must be 1 to 10"),
        (
            {"preprocessing": RGB},
            Ensemble(),
            r"preprocessing is of images with 3 channel\(s\), but input images is uint8",
        ),
    ],
)
def test_an_ensemble_that_cannot_be_is_refused_with_the_reason(
    model: Servable, change: dict[str, Any], wanted: Ensemble, words: str
) -> None:
    with pytest.raises(InvalidSettings, match=words):
        layout([Entry("digits", replace(model, **change), Settings(ensemble=wanted))])


def test_two_models_of_one_name_are_refused(model: Servable) -> None:
    settings = Settings(ensemble=Ensemble())
    with pytest.raises(InvalidSettings, match="digits-labels is the name of another model, too"):
        layout([Entry("digits", model, settings), Entry("digits-labels", model)])
