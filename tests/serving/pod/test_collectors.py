"""The node's cache and a tuning's result as metrics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from trainserve.serving.pod.collectors import CacheMetrics, TuneMetrics
from trainserve.serving.repository.settings import Settings
from trainserve.serving.sources.cache import NodeCache, Room
from trainserve.serving.tune.result import Result, Subject
from trainserve.serving.tune.trial import Candidate, Load, Measurement, Objective, Trial


def fill(cache: NodeCache, digit: str, size: int) -> None:
    def make(room: Room) -> str:
        room.reserve(size)
        (room.content / "model.onnx").write_bytes(bytes(size))
        return f"sha256:{digit * 64}"

    cache.fill(digit, lambda: None, make).close()


def test_the_cache_tells_its_models_bytes_limit_and_evictions(tmp_path: Path) -> None:
    cache, registry = NodeCache(tmp_path / "cache", 2500), CollectorRegistry()
    registry.register(CacheMetrics(cache))
    assert registry.get_sample_value("trainserve_cache_models") is None
    for digit in "abc":
        fill(cache, digit, 1000)
    values = [registry.get_sample_value(f"trainserve_cache_{name}") for name in ("models", "bytes", "limit_bytes")]
    assert values == [2, 2000, 2500]
    assert registry.get_sample_value("trainserve_cache_evictions_total") == 1


def tuned(p99_ms: float) -> Result:
    """Return a tuner's result with one candidate that was measured and confirmed."""
    settings = Settings.model_validate(
        {"instances": 2, "threads": 1, "dynamicBatching": {"maxBatch": 8, "maxQueueDelay": "500us"}}
    )
    load = Load(seconds=1.0, rate=900.0)
    measured = [
        Measurement(Trial("b8", "confirm", load), rate=900.0, p50_ms=p99_ms / 2, p99_ms=p99_ms, requests=900)
        for _ in range(5)
    ]
    subject = Subject("digits", "sha256:" + "0" * 64, {"cpu": "one", "cores": 2}, "server")
    return Result(subject, Objective(20.0, 900.0), (Candidate("b8", settings),), tuple(measured), 10.0)


@pytest.mark.parametrize(("p99_ms", "holds"), [(15.5, 1.0), (40.0, 0.0)])
def test_a_tunings_choice_is_told_in_base_units(tmp_path: Path, p99_ms: float, holds: float) -> None:
    path, registry = tmp_path / "tuned.json", CollectorRegistry()
    registry.register(TuneMetrics(path))
    path.write_text(json.dumps(tuned(p99_ms).as_dict()))
    assert registry.get_sample_value("trainserve_tune_objective_p99_seconds") == 0.02
    assert registry.get_sample_value("trainserve_tune_holds") == holds
    if holds:
        names = ("p99_seconds", "requests_per_second", "instances", "threads", "max_batch", "max_queue_delay_seconds")
        values = [registry.get_sample_value(f"trainserve_tune_{name}") for name in names]
        assert values == pytest.approx([0.0155, 900, 2, 1, 8, 0.0005])


@pytest.mark.parametrize("content", [None, "", "{}", "[1]", '{"objective": {"p99_ms": "much"}}'])
def test_no_result_and_no_json_are_no_metrics(tmp_path: Path, content: str | None) -> None:
    path, registry = tmp_path / "tuned.json", CollectorRegistry()
    if content is not None:
        path.write_text(content)
    registry.register(TuneMetrics(path))
    assert list(registry.collect()) == []
