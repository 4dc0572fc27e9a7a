"""Settings to measure, the most promising first. Pure."""

from __future__ import annotations

from itertools import product

from trainserve.api.scalars.duration import microseconds
from trainserve.serving.repository.settings import Settings
from trainserve.serving.tune.trial import Candidate

BATCHES = (64, 16, 8, 4, 32, 128)
DELAYS = (None, "500us", "2ms", "5ms")
LAYOUT = 0.4
"""Weight of a step to another layout, relative to a step to another batch limit or delay."""
BASE = Settings()
DELAY_SHARE = 0.25
"""Maximum queue delay as a share of the objective."""


def layouts(cores: int, gpus: int = 0) -> list[tuple[int, int]]:
    """Return pairs of instances and threads per instance: (1, 1), then every even division of the cores.

    With GPUs, which do the work there, one to four instances on each.
    """
    if gpus:
        return [(instances, 1) for instances in (1, 2, 3, 4)]
    shares = [(instances, cores // instances) for instances in range(1, cores + 1) if cores % instances == 0]
    return list(dict.fromkeys([(1, 1), *shares]))


def candidates(cores: int, *, batched: bool, p99_ms: float, base: Settings = BASE, gpus: int = 0) -> list[Candidate]:
    """Return candidates for a machine with `cores`; settings that are not measured are those of `base`.

    For a graph without a batch axis only the layout varies. They are ordered by their distance in steps from (64, no
    delay, one instance of one thread), so that the first n are of n different kinds.
    """
    delays = [each for each in DELAYS if each is None or microseconds(each) / 1e3 <= p99_ms * DELAY_SHARE]
    grid = product(
        enumerate(layouts(cores, gpus)),
        enumerate(BATCHES if batched else (1,)),
        enumerate(delays if batched else (None,)),
    )
    ordered = sorted(grid, key=lambda each: LAYOUT * each[0][0] + each[1][0] + each[2][0])
    return [
        Candidate(f"c{number:02}", _settings(base, instances, threads, batch, delay))
        for number, ((_, (instances, threads)), (_, batch), (_, delay)) in enumerate(ordered)
    ]


def references(cores: int) -> list[Candidate]:
    """Return the settings to compare the choice with: Triton's defaults, and naive ones without batches.

    The defaults are those for a model.onnx without config.pbtxt on a CPU: max_batch_size 4 and dynamic batching
    (https://github.com/triton-inference-server/onnxruntime_backend, default-max-batch-size), two instances (its core's
    default for onnxruntime), and onnxruntime's threads: one per core.
    """
    return [
        Candidate("defaults", _settings(BASE, 2, cores, 4, None), "defaults"),
        Candidate("naive", _settings(BASE, 1, cores, 1, None), "naive"),
    ]


def _settings(base: Settings, instances: int, threads: int, batch: int, delay: str | None) -> Settings:
    batching = base.dynamic_batching.model_copy(
        update={"max_batch": batch, "max_queue_delay": delay, "preferred_batch_sizes": None}
    )
    return base.model_copy(update={"instances": instances, "threads": threads, "dynamic_batching": batching})
