"""Triton's metrics of requests, samples and executions."""

from __future__ import annotations

from trainserve.api.metrics.definition import Group, Metric
from trainserve.api.metrics.triton.labels import MODEL

REQUESTS = Group(
    "Triton: requests",
    "Labels `model` and `version` (of the model repository: 1, whatever the store's version is; the chart's scrape"
    " objects put the store's in its place), on GPUs also `gpu_uuid`: sum by `model`. The probe's own inferences, one a"
    " second, are among them. An ensemble counts itself *and* each of its steps: never sum over all models.",
    (
        Metric(
            "nv_inference_request_success",
            "counter",
            "requests",
            "Requests that were answered, batched or not, cached ones too.",
            "`rate` is throughput in requests. Trap: of a model of the python backend, a request that the *model*"
            " failed, and that the client saw as a 500, is counted here: measure availability with the probe.",
            MODEL,
        ),
        Metric(
            "nv_inference_request_failure",
            "counter",
            "requests",
            "Requests that failed, from 24.07 on by `reason`: `REJECTED` (it waited longer than the queue's timeout;"
            " one that finds the queue full gets its 503 and is counted nowhere), `CANCELED` (the client went away),"
            " `BACKEND` (the model), `OTHER`.",
            "`BACKEND` above 0 is a model that fails; `REJECTED`, an overload that does its duty: scale, or lower the"
            " load. Trap: see above; 0 does not say that no client saw an error.",
            (*MODEL, "reason"),
        ),
        Metric(
            "nv_inference_count",
            "counter",
            "samples",
            "Samples that were computed: a request of 8 rows counts 8. Cached ones are not in it.",
            "Throughput in samples; the numerator of the mean batch.",
            MODEL,
        ),
        Metric(
            "nv_inference_exec_count",
            "counter",
            "executions",
            "How often the model was run.",
            "`nv_inference_count` over it is the mean batch that dynamic batching made. Trap: 1.0 under load says that"
            " batching is off, or one client waits for each answer.",
            MODEL,
        ),
        Metric(
            "nv_inference_pending_request_count",
            "gauge",
            "requests",
            "Requests in the queue at the moment of the scrape.",
            "A hint at saturation. Trap: a moment out of 15 or 30 s; bursts fall between. The queue's share of the"
            " latency is the better signal, for scaling too.",
            MODEL,
            (),
            "",
            "23.09",
        ),
    ),
)
