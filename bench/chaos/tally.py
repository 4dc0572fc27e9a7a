"""Outcome of the jobs, their versions and the ModelServes, from objects and the store's content. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainserve import store
from trainserve.serving.sources.source import open_servable

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Version:
    """A version in the store; `whole`: all its files have the content that its manifest states."""

    model: str
    number: int
    digest: str
    uid: str | None
    """Uid of the TrainJob in its manifest."""
    whole: bool


@dataclass
class Jobs:
    """Counts over all TrainJobs, and descriptions of what is wrong (`told`)."""

    complete: int = 0
    failed: int = 0
    going_on: int = 0
    twice: int = 0
    """Number of jobs with more than one version."""
    unpublished: int = 0
    """Number of Complete jobs without a version in the store."""
    verified: int = 0
    """Number of Complete jobs with one version, which is whole and has the digest in the status and in the record."""
    gaps: int = 0
    """Number of missing version numbers, over all models."""
    attempts: Counter[str] = field(default_factory=Counter)
    """Number of attempts by the reason with which they ended."""
    told: list[str] = field(default_factory=list)


def true_conditions(thing: Object) -> set[str]:
    """Return the types of the conditions that are True."""
    known = (thing.get("status") or {}).get("conditions") or []
    return {each["type"] for each in known if each["status"] == "True"}


def over(job: Object) -> bool:
    """Return whether a job is Complete or Failed."""
    return bool(true_conditions(job) & {"Complete", "Failed"})


def count(jobs: Iterable[Object], versions: Iterable[Version], recorded: Mapping[tuple[str, int], str]) -> Jobs:
    """Count the outcomes of the jobs. `recorded` holds the digests in the namespace's record, by model and number."""
    found, by_uid = Jobs(), defaultdict[str | None, list[Version]](list)
    numbers = defaultdict[str, set[int]](set)
    for version in versions:
        by_uid[version.uid].append(version)
        numbers[version.model].add(version.number)
    for model, there in sorted(numbers.items()):
        if missing := set(range(1, max(there) + 1)) - there:
            found.gaps += len(missing)
            found.told.append(f"{model}: no version {sorted(missing)} among {sorted(there)}")
    for job in jobs:
        _count_one(job, by_uid[job["metadata"]["uid"]], recorded, found)
    return found


def _count_one(job: Object, own: list[Version], recorded: Mapping[tuple[str, int], str], found: Jobs) -> None:
    status, held = job.get("status") or {}, true_conditions(job)
    complete, failed = "Complete" in held, "Failed" in held
    found.complete += complete
    found.failed += failed
    found.going_on += not held & {"Complete", "Failed"}
    found.twice += len(own) > 1
    found.unpublished += complete and not own
    for attempt in status.get("attempts") or []:
        found.attempts[attempt.get("reason") or "going on"] += 1
    artifact = status.get("artifact") or {}
    right = complete and len(own) == 1 and _agree(own[0], artifact, recorded)
    found.verified += right
    if not right or failed:
        where = [f"{each.model}/{each.number}" for each in own]
        reasons = [attempt.get("reason") for attempt in status.get("attempts") or []]
        found.told.append(f"{job['metadata']['name']}: {sorted(held)}, attempts {reasons}, versions {where}")


def _agree(version: Version, artifact: Object, recorded: Mapping[tuple[str, int], str]) -> bool:
    digests = {version.digest, artifact.get("digest"), recorded.get((version.model, version.number))}
    return version.whole and digests == {version.digest} and artifact.get("version") == version.number


def recorded(config_maps: Iterable[Object]) -> dict[tuple[str, int], str]:
    """Return the digests in the record's ConfigMaps, by model and number."""
    return {
        (each["metadata"]["labels"]["trainserve.io/model"], int(number)): digest
        for each in config_maps
        if each["metadata"]["name"].startswith("trainserve-versions.")
        for number, digest in (each.get("data") or {}).items()
    }


def published(root: Path, namespace: str) -> list[Version]:
    """Return all versions in the store, with all their files verified."""
    found = []
    for model in store.models(root, namespace):
        for number in store.versions(root, namespace, model):
            resolved = store.resolve(root, namespace, model, number)
            uid = store.manifest(root, namespace, model, number).train_job.uid
            try:
                open_servable(store.address(str(root), namespace, model, number), digest=resolved.digest, release=None)
                whole = True
            except store.StoreError:
                whole = False
            found.append(Version(model, number, resolved.digest, uid, whole))
    return found


def leftovers(root: Path, namespace: str) -> list[str]:
    """List entries of models' folders that are neither a version nor a lock, and all checkpoints."""
    models = [each for each in (root / namespace).iterdir() if each.is_dir()]
    among = [path for model in models for path in model.iterdir() if not path.name.isdigit() and path.name != ".lock"]
    checkpoints = (root / ".checkpoints" / namespace).glob("*")
    return sorted(str(path.relative_to(root)) for path in (*among, *checkpoints))
