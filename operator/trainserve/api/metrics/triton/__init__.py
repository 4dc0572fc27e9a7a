"""Triton's own metrics, as docs/metrics.md explains them; TrainServe's processes do not export them.

Sources of names and kinds: a running server's export, and src/metrics.cc and src/metric_model_reporter.cc of
https://github.com/triton-inference-server/core in the branches of the releases 23.06 to 26.06.
"""

from __future__ import annotations

from trainserve.api.metrics.definition import Group
from trainserve.api.metrics.triton.latencies import LATENCIES
from trainserve.api.metrics.triton.machine import MACHINE
from trainserve.api.metrics.triton.requests import REQUESTS
from trainserve.api.metrics.triton.response_cache import RESPONSE_CACHE

GROUPS: tuple[Group, ...] = (REQUESTS, LATENCIES, RESPONSE_CACHE, MACHINE)
"""In the order of docs/metrics.md."""
