"""Digests of a TrainJob's spec by field, to detect and name a change after the first attempt has started."""

from __future__ import annotations

import hashlib
import json

from trainserve.api.trainjob import TrainJobSpec

DIGITS = 12


def spec_digests(spec: TrainJobSpec) -> dict[str, str]:
    """Return the first DIGITS digits of the sha256 of each field of the spec except policy.

    Fields at their defaults are left out, so neither an explicit default nor an operator with more fields counts as a
    change.
    """
    said = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"policy"})
    return {field: _digest(value) for field, value in said.items()}


def _digest(value: object) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:DIGITS]
