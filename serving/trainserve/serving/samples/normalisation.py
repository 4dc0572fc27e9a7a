"""Diagnosis of a served network with wrong normalisation of its images. Pure.

A graph with a wrong mean, standard deviation or scale answers to an image x as the right graph answers to a*x + b,
with an a and a b per channel. They are fitted by least squares (Levenberg-Marquardt), starting from common conventions;
a fit of so few numbers that explains nearly all of the answers is no accident.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainserve.store import Preprocessing

Array = np.ndarray[Any, Any]
Network = Callable[[Array], Array]

EXPLAINED = 0.02
"""Maximum share of the difference (root mean square) that a fit may leave, on images that it was not fitted to."""
FITTED = 16
"""Number of images that are fitted."""
CHECKED = 32
"""Maximum number of other images that verify the fit, to exclude overfitting."""
_STEPS = 15
_GAIN = 0.9
"""Maximum share of the difference that a step may leave for another one to be worth its time."""
_STUCK = 10.0
"""Damping beyond which steps are too short."""
_STARTS = 2
"""Number of conventions to start from, the nearest ones."""
_CONVENTIONS = (
    (1.0, (0.0,), (1.0,)),  # 0 to 255
    (1 / 255, (0.0,), (1.0,)),  # 0 to 1
    (1 / 255, (0.5,), (0.5,)),  # -1 to 1
    (1 / 255, (0.1307,), (0.3081,)),  # MNIST
    (1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),  # ImageNet
    (1 / 255, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),  # CIFAR-10
)


@dataclass(frozen=True)
class Fit:
    """The network answers as if it were given `gain` * x + `offset`, per channel.

    `left` is the share of the difference that this leaves unexplained.
    """

    gain: Array
    offset: Array
    left: float

    def in_words(self, right: Preprocessing) -> str:
        """Describe the fit as mean and standard deviation at the version's own scale."""
        mean = (np.array(right.mean) - self.offset * right.scale) / self.gain
        std = np.array(right.std) / self.gain
        return (
            f"mean {_shown(mean)} and std {_shown(std)} at scale {right.scale:.4g}, where the version has "
            f"mean {_shown(right.mean)} and std {_shown(right.std)}"
        )


def channel_axis(shape: list[int], channels: int) -> int:
    """Return the axis of an image's channels: the last if it has that length, else the second."""
    return len(shape) - 1 if shape[-1] == channels else 1


def fit(network: Network, images: Array, served: Array, right: Preprocessing, axis: int) -> Fit | None:
    """Fit a normalisation that explains `served` (n, …), the answers to `images` (n, …); None if there is none."""
    channels = len(right.mean)
    shape = [1] * images.ndim
    shape[axis] = channels
    unit = float(images.std()) or 1.0

    def residual(parameters: Array, rows: slice = slice(FITTED)) -> Array:
        gain, offset = parameters[:channels], parameters[channels:] * unit
        given = images[rows] * gain.reshape(shape) + offset.reshape(shape)
        return (spread(network(given.astype(np.float32))) - spread(served[rows])).reshape(-1)

    untouched = np.concatenate([np.ones(channels), np.zeros(channels)])
    wrong = _size(residual(untouched))
    starts = [untouched, *(_start(each, right, unit) for each in _CONVENTIONS if _fits(each, channels))]
    others = slice(FITTED, FITTED + CHECKED) if len(images) > FITTED else slice(FITTED)
    allowed = EXPLAINED * _size(residual(untouched, others))
    for start in sorted(starts, key=lambda start: _size(residual(start)))[:_STARTS]:
        parameters = _descend(residual, start, wrong * EXPLAINED / 10)
        gain, left = parameters[:channels], _size(residual(parameters, others))
        if left < allowed and np.all(gain > 0):
            return Fit(gain, parameters[channels:] * unit, left / allowed * EXPLAINED)
    return None


def reversed_channels(network: Network, images: Array, served: Array, axis: int) -> bool:
    """Whether exchanged red and blue channels explain the answers."""
    if images.shape[axis] != 3:
        return False
    images, target = images[:CHECKED], spread(served[:CHECKED])
    wrong = _size(spread(network(images)) - target)
    return _size(spread(network(np.flip(images, axis))) - target) <= EXPLAINED * wrong


def _descend(residual: Callable[[Array], Array], start: Array, enough: float) -> Array:
    """Minimize `residual` from `start`, until it is below `enough` or no longer decreases."""
    parameters, damping, slopes = start, 1e-3, None
    now = residual(parameters)
    for _ in range(_STEPS):
        if _size(now) <= enough or damping > _STUCK:
            break
        if slopes is None:
            steps = 1e-2 * np.eye(len(start))
            slopes = np.stack([(residual(parameters + step) - now) / 1e-2 for step in steps], axis=1)
        square = slopes.T @ slopes
        change = np.linalg.lstsq(square + damping * np.diag(np.diag(square)), -slopes.T @ now, rcond=None)[0]
        then = residual(parameters + change)
        if _size(then) >= _size(now):
            damping *= 10
            continue
        worth = _size(then) < _GAIN * _size(now)
        parameters, now, damping, slopes = parameters + change, then, damping / 10, None
        if not worth:
            break
    return parameters


def _start(convention: tuple[float, tuple[float, ...], tuple[float, ...]], right: Preprocessing, unit: float) -> Array:
    """Return the gain and offset that turn the normalisation `right` into `convention`."""
    scale, mean, std = convention[0], np.array(convention[1]), np.array(convention[2])
    gain = scale * np.array(right.std) / (std * right.scale)
    offset = (np.array(right.mean) - mean * np.array(right.std) / std) / right.scale
    return np.concatenate([gain, offset / unit])


def _fits(convention: tuple[float, tuple[float, ...], tuple[float, ...]], channels: int) -> bool:
    return len(convention[1]) in (1, channels)


def spread(answers: Array) -> Array:
    """Turn probabilities into centred logits, which differ more clearly near 0 and 1; other answers are unchanged."""
    flat = answers.reshape(len(answers), -1).astype(np.float64)
    if not are_probabilities(flat):
        return flat
    logits = np.log(np.maximum(flat, 1e-7))
    centred: Array = logits - logits.mean(axis=1, keepdims=True)
    return centred


def are_probabilities(answers: Array) -> bool:
    """Whether the answers are probabilities along the last axis."""
    return bool(answers.min() >= 0 and np.allclose(answers.sum(axis=-1), 1, atol=0.01))


def _size(difference: Array) -> float:
    return float(np.sqrt(np.mean(np.square(difference))))


def _shown(values: Any) -> str:
    return "[" + ", ".join(f"{value:.3g}" for value in values) + "]"
