"""Labels of Triton's metrics by model, and the option that its percentiles need."""

from __future__ import annotations

MODEL = ("model", "version")
SUMMARY = "`summary_latencies`"
