"""Service level objectives; the alert rules have the same values (a test compares them)."""

from __future__ import annotations

AVAILABILITY = 0.999
"""Objective for the share of requests that succeed."""
ERROR_BUDGET = 0.001
SLOW_BUDGET = 0.01
"""Share of requests that may be slower than a ModelServe's p99 objective, by the definition of p99."""
FAST_BURN, SLOW_BURN = 14.4, 6.0
"""Burn rates at which an alert fires: 2 % of a month's budget in an hour, 5 % in six hours."""
