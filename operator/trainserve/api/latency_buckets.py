"""Upper bounds of latency histograms: around a service's objective where it has one, else for any CNN.

The operator hands the objective to a serving pod, whose fetch writes the bounds into Triton's config.pbtxt and whose
probe counts in them, and tells Prometheus' rules (`objective_buckets`) which bucket ends at it.
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
    """Ascending upper bounds in seconds; `objective`, in seconds, is one of them. None, or 0: there is none."""
    return tuple(_rounded(objective * share) for share in _AROUND) if objective else DEFAULT


def triton_bounds(objective: float | None) -> tuple[float, ...]:
    """The same in milliseconds, as Triton's histogram has to be given them.

    It counts whole milliseconds, rounded down (an integer division in UpdateResponseMetrics, src/infer_response.cc of
    triton-inference-server/core, 24.11 to 26.06): an answer after 20.9 ms is found in a bucket up to 20. A bound
    a hair below a whole millisecond has in its bucket just what was answered before that; bounds within one millisecond
    would all hold the same. So each is rounded up to a whole one, less the hair.
    """
    return tuple(sorted({_below(bound) for bound in bounds(objective)}))


def objective_buckets(objective: float | None) -> tuple[tuple[str, str], ...]:
    """The bucket that ends at the objective: the histogram's name, with each way in which its `le` is written."""
    if not objective:
        return ()
    ends = ((PROBE, _rounded(objective)), (TRITON, _below(_rounded(objective))))
    return tuple((family, le) for family, bound in ends for le in written(bound))


def written(bound: float) -> tuple[str, ...]:
    """The ways in which a bound is written as the label `le`.

    Triton writes 16 digits (prometheus-cpp 1.0.1, core/src/text_serializer.cc), the Python client as Go does with
    `.0` to a whole number; Prometheus 2 keeps what it is given, 3 writes all as the Python client.
    """
    return tuple(dict.fromkeys((f"{bound:.16g}", _go(bound))))


def _rounded(seconds: float) -> float:
    return float(f"{seconds:.6g}")


def _below(seconds: float) -> float:
    return round(math.ceil(round(seconds * 1000, 6)) - _HAIR, 4)


def _go(value: float) -> str:
    mantissa, _, exponent = f"{Decimal(repr(value)).normalize():e}".partition("e")
    return repr(value) if -4 <= int(exponent) < 6 else f"{mantissa}e{int(exponent):+03d}"
