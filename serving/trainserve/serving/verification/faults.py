"""Rules that find the most likely fault from a verification's evidence.

Each rule is a function that returns a Fault with its evidence, or None; they are applied in order. Some run the
version's own graph here with plain onnxruntime (reference.py), only once something is known to be wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from trainserve.serving.protocol.triton_types import NAMES
from trainserve.serving.samples import normalisation
from trainserve.serving.samples.ensemble_samples import LABELS
from trainserve.serving.sources.servable import Servable
from trainserve.serving.verification.description import Described
from trainserve.serving.verification.evidence import Evidence
from trainserve.serving.verification.reference import NoReference
from trainserve.serving.verification.report import Fault, Kind, Run

_SAME_CLASS = 0.9
"""Minimum share of samples whose most probable class rounding does not change."""
_DRIFT: dict[Literal["fp16", "int8"], tuple[float, float]] = {"fp16": (0.3, 3.0), "int8": (0.5, 6.0)}
"""Range of the differences, relative to those of rounded weights; activations are rounded too."""
_ONE_SIDED = 0.99
"""Minimum share of the differences in one direction. Fewer than `_DIRECTIONS` dimensions say little."""
_DIRECTIONS = 4


def likeliest(evidence: Evidence) -> Fault:
    """Apply the rules in order, from the plainest evidence on; if none applies, the weights were changed."""
    doubts: list[str] = []
    for rule in _RULES:
        try:
            if fault := rule(evidence):
                return Fault(fault.kind, fault.message, [*fault.evidence, *doubts])
        except NoReference as error:
            if not doubts:
                doubts.append(f"the version's own graph could not be compared with here: {error}")
    proof = [_difference(evidence), "no other version, normalisation or rounding explains it"]
    if not doubts and _one_sided(evidence):
        proof.append("all differences have one direction, as when one weight or one unit was changed")
    return Fault(Kind.TAMPERED_WEIGHTS, "the server's weights are not those of the version", [*proof, *doubts])


def wrong_signature(servable: Servable, described: Described) -> Fault | None:
    """Find inputs or outputs that differ from the version's: another model is served."""
    for kind, tensors, served in (
        ("input", servable.inputs, described.inputs or {}),
        ("output", servable.outputs, described.outputs or {}),
    ):
        expected = {tensor.name: (NAMES.get(tensor.dtype, tensor.dtype), tensor.shape) for tensor in tensors}
        for name, tensor in expected.items():
            if name not in served:
                return _other_model(f"it has no {kind} {name}, only {', '.join(served) or 'none'}")
            if served[name] != tensor and not _alone(served[name], tensor):
                return _other_model(f"{kind} {name} is {_tensor(served[name])} instead of {_tensor(tensor)}")
    return None


def claims(servable: Servable, described: Described) -> bool:
    """Whether the server's configuration names this version, or none. A lone graph matches any version."""
    return servable.manifest is None or described.digest in (None, servable.digest)


def wrong_version(evidence: Evidence) -> Fault | None:
    """Find a server that names another digest, or answers like another version."""
    claimed, differs = evidence.described.digest, not claims(evidence.servable, evidence.described)
    if not differs and evidence.right_alone:
        return None
    for known in evidence.others:
        if claimed == known.digest:
            return _version(known.name, f"the server's configuration names its digest {claimed}")
        found = known.recorded.compare(evidence.answer(known.recorded))
        if not evidence.right_alone and found.matches:
            return _version(
                known.name, f"it answers the samples recorded with {known.name} as it should: {found.message}"
            )
    if differs:
        return _version(
            "another version", f"the server's configuration names {claimed}, not {evidence.servable.digest}"
        )
    return None


def wrong_ensemble(name: str, runs: Sequence[Run]) -> Fault | None:
    """Find a wrong ensemble, served as `name`, around a model whose own answers are right."""
    wrong = next((run for run in runs if not run.matches), None)
    if wrong is None:
        return None
    proof = [f"over {wrong.protocol}, batch {wrong.batch}: {wrong.message}", "the model itself answers as recorded"]
    if wrong.worst and wrong.worst.output == LABELS:
        return Fault(Kind.SWAPPED_LABELS, f"{name} gives the right scores under other labels", proof)
    return Fault(Kind.WRONG_ENSEMBLE, f"{name} does not give what the model in it gives", proof)


def other_shapes(evidence: Evidence) -> Fault | None:
    """Find outputs of another shape than the recorded ones, if the model's metadata allow any length."""
    for name, expected in evidence.recorded.outputs.items():
        served = evidence.served[name]
        if served.shape not in (expected.shape, (*expected.shape, 1)):
            return _other_model(f"output {name} has shape {list(served.shape)} instead of {list(expected.shape)}")
    return None


def swapped_labels(evidence: Evidence) -> Fault | None:
    """Find wrong labels of right outputs."""
    labels = evidence.labels
    if labels is None or not labels.wrong or not evidence.right_alone:
        return None
    shown = [f"class {each.index} is {each.got!r} instead of {each.expected!r}" for each in labels.wrong[:4]]
    permuted = {each.got for each in labels.wrong} == {each.expected for each in labels.wrong}
    what = "the labels are in another order" if permuted else "the labels are not those of the version"
    return Fault(
        Kind.SWAPPED_LABELS,
        f"{what}: {len(labels.wrong)} of {labels.classes} classes are misnamed",
        [*shown, "the outputs themselves match"],
    )


def changing_answers(evidence: Evidence) -> Fault | None:
    """Find answers that change if the same requests are sent again: they say nothing about the weights."""
    again = evidence.again()
    if not again or evidence.alike(evidence.served, again):
        return None
    proof = [f"asked the same once more: {replace(evidence.recorded, outputs=evidence.served).compare(again).message}"]
    try:
        own = evidence.alike(*evidence.reference.twice(evidence.recorded.inputs))
        words = (
            "always the same with MODEL's own file: the server keeps a state" if own else "just as changing: by chance"
        )
        proof.append(f"plain onnxruntime's answers are {words}")
    except NoReference as error:
        proof.append(f"whether MODEL's own file answers so, too, could not be seen here: {error}")
    return Fault(Kind.CHANGING_ANSWERS, "asked the same twice, the server answers differently", proof)


def mixed_batches(evidence: Evidence) -> Fault | None:
    """Find answers that are right alone and wrong in batches, or that depend on the other rows."""
    wrong = [run for run in evidence.runs if not run.matches]
    if not wrong:
        return None
    if not evidence.right_alone:
        return _recorded_in_company(evidence)
    where = ", ".join(f"{run.protocol} batch {run.batch} x {run.concurrency}" for run in wrong)
    proof = [run.message for run in wrong]
    try:
        if not evidence.alike(evidence.own_alone, evidence.own):
            proof.append(
                "so does plain onnxruntime with MODEL's own file: what it makes of a row depends on the others"
            )
    except NoReference as error:
        proof.append(f"whether MODEL's own file answers so, too, could not be seen here: {error}")
    return Fault(Kind.MIXED_BATCHES, f"answers are right alone and wrong in company ({where})", proof)


def _recorded_in_company(evidence: Evidence) -> Fault | None:
    """Find recorded outputs that depend on the batch: the server answers like the version's own graph does alone."""
    if not evidence.alike(evidence.own_alone, evidence.served) or evidence.alike(evidence.own_alone, evidence.own):
        return None
    return Fault(
        Kind.MIXED_BATCHES,
        "what the graph makes of a row depends on the rows beside it, and what was recorded was computed in company",
        [_difference(evidence), "plain onnxruntime gives the server's answers with MODEL's own file, row by row"],
    )


def version_at_fault(evidence: Evidence) -> Fault | None:
    """Find a version whose own graph does not give its recorded outputs."""
    if evidence.right_alone or evidence.own_is_right():
        return None
    name = evidence.scores
    if not np.allclose(evidence.served[name], evidence.own[name], rtol=1e-3, atol=1e-4):
        return None
    proof = [_difference(evidence), "plain onnxruntime gives the same with MODEL's own file"]
    precision = evidence.servable.manifest.precision if evidence.servable.manifest else "fp32"
    if precision != "fp32":
        return Fault(Kind.PRECISION_DRIFT, f"{precision} drifts beyond the version's own tolerance", proof)
    return Fault(Kind.VERSION_AT_FAULT, "the version's graph does not give what was recorded with it", proof)


def wrong_normalisation(evidence: Evidence) -> Fault | None:
    """Find answers of the right network to images that are shifted, scaled, or have red and blue exchanged."""
    right = evidence.servable.preprocessing
    if evidence.right_alone or right is None or len(evidence.recorded.inputs) != 1:
        return None
    ((name, images),) = evidence.recorded.inputs.items()
    channels = (images.shape[1], images.shape[-1]) if images.ndim == 4 else ()
    if len(right.mean) not in channels or not np.isfinite(evidence.served[evidence.scores]).all():
        return None
    network = evidence.reference.of_floats()

    def answer(given: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return network({name: given})[evidence.scores]

    served = evidence.served[evidence.scores]
    axis = normalisation.channel_axis(list(images.shape), len(right.mean))
    if normalisation.reversed_channels(answer, images, served, axis):
        words = "with red and blue exchanged the version's own graph gives the same answers"
        return Fault(Kind.WRONG_NORMALISATION, "the server's graph sees red and blue exchanged", [words])
    found = normalisation.fit(answer, images, served, right, axis)
    if found is None:
        return None
    return Fault(
        Kind.WRONG_NORMALISATION,
        f"the server's graph normalises its images with {found.in_words(right)}",
        [f"so normalised, the version's own graph gives these answers ({1 - found.left:.1%} of the difference)"],
    )


def precision_drift(evidence: Evidence) -> Fault | None:
    """Find small differences, as of weights with fewer bits, that leave the classes unchanged."""
    labels = evidence.labels
    others = labels and labels.samples and (labels.same or 0) < _SAME_CLASS * labels.samples
    if evidence.right_alone or others or _one_sided(evidence):
        return None
    inputs = evidence.few(evidence.recorded.inputs)
    recorded = evidence.few(evidence.recorded.outputs)[evidence.scores]
    drift = _rms(evidence.few(evidence.served)[evidence.scores] - recorded)
    own = evidence.few(evidence.own)[evidence.scores]
    for precision, (least, most) in _DRIFT.items():
        expected = _rms(evidence.reference.rounded(precision, inputs)[evidence.scores] - own)
        if least * expected <= drift <= most * expected:
            asked = evidence.described.accelerator
            return Fault(
                Kind.PRECISION_DRIFT,
                f"the server computes in {precision}, and the tolerance was made for "
                f"{evidence.servable.manifest.precision if evidence.servable.manifest else 'fp32'}",
                [
                    f"the differences (root mean square {drift:.2g}) are of the size that weights rounded to "
                    f"{precision} bring ({expected:.2g})",
                    f"its configuration asks for {asked}" if asked else "weights changed by as little would look alike",
                ],
            )
    return None


_RULES: tuple[Callable[[Evidence], Fault | None], ...] = (
    wrong_version,
    other_shapes,
    swapped_labels,
    changing_answers,
    mixed_batches,
    version_at_fault,
    wrong_normalisation,
    precision_drift,
)


def _one_sided(evidence: Evidence) -> bool:
    """Whether the samples' differences, before softmax, are nearly multiples of one another.

    Rounding affects every weight, and spreads over all directions; a changed weight after the last convolution causes
    differences in one.
    """
    recorded, served = evidence.recorded.outputs[evidence.scores], evidence.served[evidence.scores]
    difference = normalisation.spread(served) - normalisation.spread(recorded)
    if min(difference.shape) < _DIRECTIONS or not np.isfinite(difference).all():
        return False
    sizes = np.square(np.linalg.svd(difference, compute_uv=False))
    return bool(sizes[0] > _ONE_SIDED * sizes.sum())


def _version(name: str, proof: str) -> Fault:
    return Fault(Kind.WRONG_VERSION, f"the server serves {name} under this name", [proof])


def _other_model(proof: str) -> Fault:
    return Fault(Kind.WRONG_VERSION, "the server serves another model under this name", [proof])


def _difference(evidence: Evidence) -> str:
    wrong = next((run for run in evidence.runs if not run.matches), evidence.runs[0])
    return f"over {wrong.protocol}, batch {wrong.batch}: {wrong.message}"


def _tensor(tensor: tuple[str, list[int]]) -> str:
    return f"{tensor[0]} {tensor[1]}"


def _alone(served: tuple[str, list[int]], tensor: tuple[str, list[int]]) -> bool:
    """Whether it is the tensor with an axis of 1, with which a server declares a scalar."""
    return served == (tensor[0], [*tensor[1], 1]) and len(tensor[1]) < 2


def _rms(difference: np.ndarray[Any, Any]) -> float:
    return float(np.sqrt(np.mean(np.square(difference.astype(np.float64)))))
