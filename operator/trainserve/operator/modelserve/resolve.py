"""The version that a ModelServe refers to, from TrainJobs' statuses, served versions, and a resolver pod's answer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from trainserve.api import messages
from trainserve.api.modelserve import ModelRef
from trainserve.api.reasons import Reason
from trainserve.operator import asking, conditions, statuses
from trainserve.operator.modelserve.version import Version
from trainserve.operator.objects import Object

LONE_GRAPH = ".onnx"
"""Suffix of the address of a standalone graph, which is not a version in a store."""


@dataclass(frozen=True)
class Unresolved:
    """The reason why no version is known yet."""

    reason: str
    message: str
    ask_store: bool = False
    """Whether to query the store with a resolver pod, since the operator reads no storage."""


def resolve(
    serve: str,
    ref: ModelRef,
    jobs: Iterable[Object],
    served: Sequence[Version],
    answer: Version | Unresolved | None,
    refused: Collection[Version] = (),
) -> Version | Unresolved:
    """Return the version that `ref` refers to, or why none is known.

    `serve` is the ModelServe's name, `jobs` are the namespace's TrainJobs, `served` the versions of the store that have
    Deployments, and `answer` is that of the resolver pod. A reference by a model's name never yields a version in
    `refused`.
    """
    if ref.uri is not None:
        return _from_address(serve, ref.uri, ref.digest or "")
    if ref.train_job is not None:
        return _from_job(ref.train_job, jobs, served)
    candidates = [
        version for version in (*published(jobs), *served) if version.model == ref.name and version not in refused
    ]
    if isinstance(answer, Version):
        candidates.append(answer)
    if ref.version is not None:
        candidates = [version for version in candidates if version.number == ref.version]
    if candidates:
        return max(candidates, key=lambda version: version.number or 0)
    which = f"model {ref.name}" + (f" version {ref.version}" if ref.version else "")
    return answer or Unresolved(
        "Resolving", f"{which}: no TrainJob here has published it; asking the store", ask_store=True
    )


def answer_of(message: messages.Outcome | messages.Unreadable | None, model: str) -> Version | Unresolved:
    """Return the answer in a resolver pod's termination message; Unresolved if it has none or is unreadable."""
    match message:
        case messages.Resolved():
            return Version(model=model, number=message.version, uri=message.uri, digest=message.digest)
        case messages.Failed(reason=str(reason)) if reason in asking.REASONS:
            return Unresolved(reason, message.message or reason, ask_store=True)
        case messages.Unreadable():
            return Unresolved(Reason.STORE_ERROR, str(message), ask_store=True)
    return Unresolved(Reason.STORE_ERROR, "the resolver pod ended without an answer", ask_store=True)


def _from_address(serve: str, uri: str, digest: str) -> Version:
    if uri.endswith(LONE_GRAPH):
        return Version(model=serve, number=None, uri=uri, digest=digest)
    model, number = uri.rsplit("/", 2)[1:]
    return Version(model=model, number=int(number), uri=uri, digest=digest)


def _from_job(name: str, jobs: Iterable[Object], served: Sequence[Version]) -> Version | Unresolved:
    job = next((job for job in jobs if job["metadata"]["name"] == name), None)
    if job is None:
        kept = next((version for version in served if version.train_job == name), None)
        return kept or Unresolved("TrainJobNotFound", f"TrainJob {name} does not exist in this namespace (yet)")
    found = next(iter(published([job])), None)
    if found is not None:
        return found
    status = statuses.of_trainjob(job)
    known = status.get("conditions")
    failed = conditions.find(known, "Failed")
    if failed is not None and failed["status"] == "True":
        return Unresolved("TrainJobFailed", f"TrainJob {name} failed: {failed['reason']}: {failed['message']}")
    if conditions.is_true(known, "Complete"):
        return Unresolved("TrainJobPublishedNothing", f"TrainJob {name} is complete and has no output.model")
    phase = status.get("phase") or "Pending"
    return Unresolved("TrainJobNotComplete", f"TrainJob {name} is not complete yet (phase {phase})")


def published(jobs: Iterable[Object]) -> Iterable[Version]:
    """Yield the versions that TrainJobs report as published."""
    for job in jobs:
        artifact = statuses.of_trainjob(job).get("artifact")
        model = (job["spec"].get("output") or {}).get("model")
        if artifact and model:
            yield Version(
                model=model,
                number=artifact["version"],
                uri=artifact["uri"],
                digest=artifact["digest"],
                train_job=job["metadata"]["name"],
            )
