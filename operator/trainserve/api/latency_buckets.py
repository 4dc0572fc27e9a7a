"""Upper bounds of latency histograms: around a service's objective if it has one, else suitable for any CNN.

The operator passes the objective to a serving pod, whose fetch writes the bounds into Triton's config.pbtxt and whose
probe uses them for its own histogram. The operator also exports which bucket ends at the objective
(`objective_buckets`), for Prometheus' rules.
"""

from __future__ import annotations

import math
from decimal import Decimal

from trainserve.api.metrics.serving import INFERENCE_DURATION
from trainserve.api.metrics.triton.latencies import HISTOGRAM

PROBE = INFERENCE_DURATION.name
TRITON = HISTOGRAM
"""Histograms of a serving pod: the probe's, in seconds, and Triton's, in milliseconds."""
DEFAULT = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds: 0.5 ms to 2 s."""
_AROUND = (0.125, 0.25, 0.5, 0.75, 0.9, 1.0, 1.25, 1.5, 2.0, 4.0, 8.0, 16.0)
"""Shares of the objective: fine where the objective is missed or held, and the objective itself among them."""
_HAIR = 0.0001
"""Milliseconds."""


def bounds(objective: float | None) -> tuple[float, ...]:
    """Return ascending upper bounds in seconds, one of which is `objective`, in seconds; None or 0: no objective."""
    return tuple(_rounded(objective * share) for share in _AROUND) if objective else DEFAULT


def triton_bounds(objective: float | None) -> tuple[float, ...]:
    """Return the bounds in milliseconds for Triton's histogram; `objective` is in seconds.

    Triton counts whole milliseconds, rounded down (an integer division in UpdateResponseMetrics, src/infer_response.cc
    of triton-inference-server/core, 24.11 to 26.06): a response after 20.9 ms falls into a bucket up to 20. The bucket
    of a bound slightly below a whole millisecond holds exactly the responses before that millisecond, and all bounds
    within the same millisecond would be equivalent. So each bound is rounded up to a whole millisecond, less _HAIR.
    """
    return tuple(sorted({_below(bound) for bound in bounds(objective)}))


def objective_buckets(objective: float | None) -> tuple[tuple[str, str], ...]:
    """Return the buckets that end at the objective (seconds): the histogram's name with each text form of its `le`."""
    if not objective:
        return ()
    ends = ((PROBE, _rounded(objective)), (TRITON, _below(_rounded(objective))))
    return tuple((family, le) for family, bound in ends for le in written(bound))


def written(bound: float) -> tuple[str, ...]:
    """Return the text forms of a bound as the label `le`.

    Triton writes 16 digits (prometheus-cpp 1.0.1, core/src/text_serializer.cc). The Python client writes the form of
    Go, with `.0` after a whole number. Prometheus 2 keeps the form it gets, and Prometheus 3 converts all to that of
    the Python client.
    """
    return tuple(dict.fromkeys((f"{bound:.16g}", _go(bound))))


def _rounded(seconds: float) -> float:
    return float(f"{seconds:.6g}")


def _below(seconds: float) -> float:
    return round(math.ceil(round(seconds * 1000, 6)) - _HAIR, 4)


def _go(value: float) -> str:
    mantissa, _, exponent = f"{Decimal(repr(value)).normalize():e}".partition("e")
    return repr(value) if -4 <= int(exponent) < 6 else f"{mantissa}e{int(exponent):+03d}"
