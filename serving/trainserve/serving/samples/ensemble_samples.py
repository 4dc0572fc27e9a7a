"""Samples for the ensemble around a model, derived from its version's recorded samples, and for each of its labels.

Pure. repository/ensemble.py builds the ensemble itself; it imports onnx, which this module does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trainserve.serving.samples import normalisation
from trainserve.serving.samples.comparison import Comparison, compare, shown, unlike
from trainserve.serving.samples.recorded import Recorded
from trainserve.serving.sources.servable import Servable
from trainserve.store import Preprocessing

Array = np.ndarray[Any, Any]

IMAGES, LABELS, SCORES = "images", "labels", "scores"
"""Names of the ensemble's input and outputs."""
TAKEN = "taken"
"""Name of the last step's input: the model's scores."""
_WHOLE = 0.1
"""Tolerance of a pixel that was normalised and restored: rounding to float16 changes it by nearly as much."""


def name_of(name: str) -> str:
    """Return the name of the ensemble around a model."""
    return f"{name}-ensemble"


def labels_of(name: str) -> str:
    """Return the name of the ensemble's last step, which turns the model's scores into labels."""
    return f"{name}-labels"


def around(name: str, servable: Servable, recorded: Recorded) -> dict[str, Recorded]:
    """Return samples for the ensemble around the model served as `name` and for its last step, by their names.

    An entry is missing if its samples cannot be derived.
    """
    found = {name_of(name): of_ensemble(servable, recorded), labels_of(name): of_labels(servable, recorded)}
    return {each: samples for each, samples in found.items() if samples is not None}


@dataclass(frozen=True, kw_only=True)
class Labelled(Recorded):
    """Samples of an ensemble with labels. `outputs` has one array with a value per class, `texts` are the labels."""

    texts: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Names of the outputs to request."""
        return [LABELS, SCORES]

    def compare(self, got: Mapping[str, Array], rows: Array | None = None) -> Comparison:
        """Compare the answers to the samples `rows`, by default each once, with the recorded outputs.

        The ensemble may turn logits into probabilities (`settings.ensemble.softmax`); both are accepted.
        """
        rows = np.arange(len(self)) if rows is None else rows
        (recorded,) = self.outputs.values()
        classes = recorded[rows].astype(np.float64)
        meant = [classes] if normalisation.are_probabilities(classes) else [classes, _softmax(classes)]
        found = [compare_labelled(self.texts, each, got, self.rtol, self.atol, rows) for each in meant]
        return min(found, key=lambda each: (not each.matches, each.max_abs))


def of_ensemble(servable: Servable, recorded: Recorded) -> Recorded | None:
    """Return samples for the ensemble around `servable`.

    None if the recorded inputs are not the preprocessed form of any uint8 images.
    """
    inputs, told = recorded.inputs, servable.preprocessing
    if told is not None and told.by == "client":
        first, *others = inputs.items()
        images = _images(first[1], told)
        if images is None:
            return None
        inputs = {IMAGES: images, **dict(others)}
    scores = servable.labelled_output
    if scores is None:
        return replace(recorded, inputs=inputs)
    outputs = {scores: recorded.outputs[scores]}
    return Labelled(inputs, outputs, recorded.rtol, recorded.atol, recorded.batch, texts=servable.labels)


def of_labels(servable: Servable, recorded: Recorded) -> Labelled | None:
    """Return samples for the step that names the classes: one row of scores per class, with that class as the best.

    None without labels, or if a sample has several rows of scores.
    """
    scores = servable.labelled_output
    if scores is None or recorded.outputs[scores].ndim != 2:
        return None
    # Not probabilities, so that Labelled.compare can tell whether there is a softmax.
    best = 4 * np.eye(len(servable.labels), dtype=recorded.outputs[scores].dtype)
    return Labelled({TAKEN: best}, {scores: best}, recorded.rtol, recorded.atol, recorded.batch, texts=servable.labels)


def compare_labelled(
    texts: Sequence[str], classes: Array, got: Mapping[str, Array], rtol: float, atol: float, rows: Array
) -> Comparison:
    """Compare the best labels and their scores, (N, …, top), with recorded scores of all classes, (N, …, classes).

    A score must be the best, second best … of its row, and that of the class that its label names. Of two nearly equal
    classes either may come first, but with its own score.
    """
    top = got[SCORES].shape[-1] if SCORES in got else 1
    best = np.sort(classes, axis=-1)[..., ::-1][..., :top]
    found = unlike({SCORES: best, LABELS: best}, got, len(set(rows.tolist())))
    found = found or compare({SCORES: best}, got, rtol, atol, rows=rows)
    if not found.matches:
        return found
    labels = compare({LABELS: _named(texts, classes, got[LABELS])}, {LABELS: got[SCORES]}, rtol, atol, equal_nan=False)
    if labels.matches:
        return found
    order = np.argsort(-classes[labels.worst], axis=-1, kind="stable")[..., :top]
    expected = np.array(texts, object)[order]
    answered = np.vectorize(_text, otypes=[object])(got[LABELS][labels.worst])
    sample = int(rows[labels.worst])
    message = (
        f"{found.message}, but not under these labels; worst: sample {sample}, output {LABELS}, "
        f"expected {shown(expected)}, got {shown(answered)}"
    )
    return replace(found, matches=False, worst=sample, output=LABELS, message=message, expected=expected, got=answered)


def _named(texts: Sequence[str], classes: Array, labels: Array) -> Array:
    """Return the recorded scores of the classes that `labels` name; NaN for an unknown label or a repeated class.

    Of classes with the same label (ImageNet has two cranes), the better comes first, as in the answer.
    """
    sharing: dict[str, list[int]] = {}
    for position, text in enumerate(texts):
        sharing.setdefault(text, []).append(position)
    found = np.full(labels.shape, np.nan)
    for row in np.ndindex(labels.shape[:-1]):
        taken: set[int] = set()
        for place, label in enumerate(labels[row]):
            free = [each for each in sharing.get(_text(label), []) if each not in taken]
            if free:
                position = max(free, key=classes[row].__getitem__)
                taken.add(position)
                found[row][place] = classes[row][position]
    return found


def _images(given: Array, told: Preprocessing) -> Array | None:
    """Return the raw uint8 images (N, H, W, C) whose preprocessed form is `given`; None if there are none."""
    channels = len(told.mean)
    if given.ndim != 4 or channels not in (given.shape[1], given.shape[3]):
        return None
    pixels = given.transpose(0, 2, 3, 1) if given.shape[1] == channels else given
    raw = (pixels.astype(np.float64) * told.std + told.mean) / told.scale
    whole = np.clip(np.rint(raw), 0, 255)
    return whole.astype(np.uint8) if np.abs(raw - whole).max() < _WHOLE else None


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: Array = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def _text(label: bytes) -> str:
    return label.decode(errors="replace")
