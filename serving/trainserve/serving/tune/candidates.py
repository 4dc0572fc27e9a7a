"""The settings that are tried, the most promising first. Pure."""

from __future__ import annotations

from itertools import product

from trainserve.api.scalars.duration import microseconds
from trainserve.serving.repository.settings import Settings
from trainserve.serving.tune.trial import Candidate

BATCHES = (64, 16, 8, 4, 32, 128)
DELAYS = (None, "500us", "2ms", "5ms")
LAYOUT = 0.4
"""Of a step to another layout, which matters to every model, beside one to another batch limit or delay."""
BASE = Settings()
DELAY_SHARE = 0.25
"""A request may wait for company for this part of the objective at most."""


def layouts(cores: int, gpus: int = 0) -> list[tuple[int, int]]:
    """Instances and the threads of each: one of one, then every way to share out the cores evenly.

    On GPUs, which do the work there, one to four instances each.
    """
    if gpus:
        return [(instances, 1) for instances in (1, 2, 3, 4)]
    shares = [(instances, cores // instances) for instances in range(1, cores + 1) if cores % instances == 0]
    return list(dict.fromkeys([(1, 1), *shares]))


def candidates(cores: int, *, batched: bool, p99_ms: float, base: Settings = BASE, gpus: int = 0) -> list[Candidate]:
    """For a machine of `cores`; what is not measured is as in `base`.

    A graph without batch axis gathers nothing, so that only the layout is left to choose. Ordered by how many steps
    each lies from (64, no delay, one instance of one thread), so that the first n are n different kinds.
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
    """What the choice is compared with.

    Triton's defaults are those for a model.onnx without config.pbtxt on a CPU: max_batch_size 4 and dynamic batching
    (https://github.com/triton-inference-server/onnxruntime_backend, default-max-batch-size), two instances (its core's
    default for onnxruntime), and onnxruntime's threads: one a core. The naive setting runs every request by itself.
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
