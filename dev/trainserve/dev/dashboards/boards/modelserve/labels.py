"""Label matchers and texts that the sections share."""

from __future__ import annotations

NAMESPACE = 'namespace="$namespace"'
SERVE = f'{NAMESPACE},modelserve="$modelserve"'
MODEL = f'{SERVE},model="$model"'
"""The model that clients ask for: an ensemble counts itself and its steps, which are models of their own."""
RATE = "[$__rate_interval]"
IDLE = "no requests"
