"""Label matchers and texts that the sections share."""

from __future__ import annotations

NAMESPACE = 'namespace="$namespace"'
SERVE = f'{NAMESPACE},modelserve="$modelserve"'
MODEL = f'{SERVE},model="$model"'
"""Label matchers of the model that clients request: for an ensemble, Triton also counts its steps, as other models."""
RATE = "[$__rate_interval]"
IDLE = "no requests"
