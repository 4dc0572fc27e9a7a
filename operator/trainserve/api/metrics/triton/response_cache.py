"""Triton's metrics of its response cache."""

from __future__ import annotations

from trainserve.api.metrics.definition import Group, Metric
from trainserve.api.metrics.triton.labels import MODEL, SUMMARY

RESPONSE_CACHE = Group(
    "Triton: response cache",
    "Only where a model has `responseCache`. The first six are by model, the others of the server's one cache.",
    (
        Metric(
            "nv_cache_num_hits_per_model",
            "counter",
            "requests",
            "Requests answered from the cache.",
            "Over hits and misses: the hit rate. Trap: hits are in `nv_inference_request_success` and not in"
            " `nv_inference_count`.",
            MODEL,
        ),
        Metric(
            "nv_cache_num_misses_per_model",
            "counter",
            "requests",
            "Requests that had to be computed.",
            "See above.",
            MODEL,
        ),
        Metric(
            "nv_cache_hit_duration_per_model",
            "counter",
            "µs",
            "Time of looking up hits.",
            "Over the hits: what a cached answer costs.",
            MODEL,
        ),
        Metric(
            "nv_cache_miss_duration_per_model",
            "counter",
            "µs",
            "Time of looking up and storing misses.",
            "Over the misses: what the cache costs all others. Close to the time in the model: turn it off.",
            MODEL,
        ),
        Metric(
            "nv_cache_hit_summary_per_model",
            "summary",
            "µs",
            "Percentiles of the hits' time.",
            "Of one server only.",
            MODEL,
            (),
            SUMMARY,
        ),
        Metric(
            "nv_cache_miss_summary_per_model",
            "summary",
            "µs",
            "Percentiles of the misses' time.",
            "Of one server only.",
            MODEL,
            (),
            SUMMARY,
        ),
        Metric(
            "nv_cache_util",
            "gauge",
            "ratio 0 to 1",
            "Share of the cache that is filled.",
            "At 1 with evictions: the working set is larger than the cache.",
        ),
        Metric(
            "nv_cache_num_entries",
            "gauge",
            "answers",
            "Answers in the cache.",
            "With `nv_cache_util`: the mean size of an answer.",
        ),
        Metric(
            "nv_cache_num_hits",
            "gauge",
            "requests",
            "Hits of all models since the start.",
            "Trap: it only rises, and calls itself a gauge: `delta`, not `rate`; prefer the counters by model.",
        ),
        Metric("nv_cache_num_misses", "gauge", "requests", "Misses of all models since the start.", "As above."),
        Metric("nv_cache_num_lookups", "gauge", "requests", "Lookups since the start.", "As above."),
        Metric(
            "nv_cache_num_evictions",
            "gauge",
            "answers",
            "Answers removed to make room since the start.",
            "Rising steadily: too small a cache. Trap: as above.",
        ),
        Metric("nv_cache_lookup_duration", "gauge", "µs", "Time of all lookups since the start.", "As above."),
        Metric("nv_cache_insertion_duration", "gauge", "µs", "Time of all insertions since the start.", "As above."),
    ),
)
