"""Detection of the normalisation that a network's answers imply. On a server: test_verification.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest

from tests.serving import faulty
from trainserve.serving.samples import normalisation
from trainserve.store import Preprocessing

RIGHT = Preprocessing(scale=1 / 255, mean=list(faulty.MEAN), std=list(faulty.STD))


@pytest.fixture(scope="module")
def network() -> Callable[[np.ndarray], np.ndarray]:
    """The correct network, with float images as input."""
    model = faulty.network()
    model.graph.input[0].type.tensor_type.elem_type = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images.astype(np.float32)})[0]


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ((0.3, 0.7, 0.2), (0.5, 0.1, 0.3)),  # an arbitrary normalisation, not a common one
    ],
)
def test_mean_and_std_are_recovered(
    network: Callable[[np.ndarray], np.ndarray], mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    images = faulty.images(16)
    served = faulty.answers(faulty.network(mean=mean, std=std), images)
    found = normalisation.fit(network, images, served, RIGHT, axis=3)
    assert found is not None
    right = np.array(RIGHT.mean), np.array(RIGHT.std)
    np.testing.assert_allclose((right[0] - found.offset * RIGHT.scale) / found.gain, mean, atol=2e-3)
    np.testing.assert_allclose(right[1] / found.gain, std, rtol=5e-3)


def test_another_network_is_not_explained(network: Callable[[np.ndarray], np.ndarray]) -> None:
    images = faulty.images(16)
    served = faulty.answers(faulty.network(seed=1), images)
    assert normalisation.fit(network, images, served, RIGHT, axis=3) is None
    assert not normalisation.reversed_channels(network, images, served, axis=3)


def test_probabilities_are_compared_as_what_softmax_saw_and_other_outputs_as_they_are() -> None:
    probabilities = np.array([[0.25, 0.75]])
    np.testing.assert_allclose(normalisation.spread(probabilities), [[-np.log(3) / 2, np.log(3) / 2]])
    np.testing.assert_allclose(normalisation.spread(np.array([[1.0, 3.0]])), [[1.0, 3.0]])
