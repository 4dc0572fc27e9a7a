"""Triton's own metrics, as docs/metrics.md explains them. Nothing of ours exports them.

Names and kinds: what a server exports, and src/metrics.cc and src/metric_model_reporter.cc of
https://github.com/triton-inference-server/core in the branches of the releases 23.06 to 26.06.
"""

from __future__ import annotations

from trainserve.api.metrics.definition import Group, Metric

_MODEL = ("model", "version")
_GPU = ("gpu_uuid",)
_SUMMARY = "`summary_latencies`"
HISTOGRAM = "nv_inference_first_response_histogram_ms"

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
            _MODEL,
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
            (*_MODEL, "reason"),
        ),
        Metric(
            "nv_inference_count",
            "counter",
            "samples",
            "Samples that were computed: a request of 8 rows counts 8. Cached ones are not in it.",
            "Throughput in samples; the numerator of the mean batch.",
            _MODEL,
        ),
        Metric(
            "nv_inference_exec_count",
            "counter",
            "executions",
            "How often the model was run.",
            "`nv_inference_count` over it is the mean batch that dynamic batching made. Trap: 1.0 under load says that"
            " batching is off, or one client waits for each answer.",
            _MODEL,
        ),
        Metric(
            "nv_inference_pending_request_count",
            "gauge",
            "requests",
            "Requests in the queue at the moment of the scrape.",
            "A hint at saturation. Trap: a moment out of 15 or 30 s; bursts fall between. The queue's share of the"
            " latency is the better signal, for scaling too.",
            _MODEL,
            (),
            "",
            "23.09",
        ),
    ),
)
LATENCIES = Group(
    "Triton: latencies",
    "Of the core's view: from the request's arrival behind the HTTP or gRPC endpoint to its answer. Network, protocol"
    " and client are not in them. Those named `_duration_us` are sums over requests, in microseconds: divide two rates"
    " for a mean; a mean hides the tail. The histogram shows the tail: where the image's release has it, our pods ask"
    " for it ([how](serving.md#tritons-latency-histogram)).",
    (
        Metric(
            HISTOGRAM,
            "histogram",
            "ms",
            "Time until the answer, of every request that came as far as the queue: cached, failed and timed-out ones"
            " too. Releases 24.11 to 25.12 have it too, but of decoupled models alone, which no exported CNN is.",
            "The one latency of Triton that can be aggregated: sum the buckets over pods, then take the quantile. Trap:"
            " it counts whole milliseconds, rounded down, so of requests below 1 ms it only says that they are, and"
            " `_sum` over `_count` is half a millisecond too low: for the mean take the sums. Our pods' bounds end a"
            " hair below a whole millisecond for that (`le` of 19.9999 holds what was answered before 20 ms). Trap:"
            " Triton's own bounds, where nobody sets any, are 100, 500, 2000 and 5000 ms. Trap: on GPUs a second set of"
            " series, with `gpu_uuid`, stays 0.",
            _MODEL,
            (),
            "`histogram_latencies`",
            "26.01",
        ),
        Metric(
            "nv_inference_request_duration_us",
            "counter",
            "µs",
            "Whole time of successful requests, cached ones too.",
            "Over `nv_inference_request_success`: mean latency in the server. Trap: the parts below do not add up to it"
            " (the cache, and hand-offs).",
            _MODEL,
        ),
        Metric(
            "nv_inference_queue_duration_us",
            "counter",
            "µs",
            "Time spent waiting in the queue, the wait for company (`maxQueueDelay`) included.",
            "Its share of `nv_inference_request_duration_us` tells when a server is full, on any hardware. Trap: it is"
            " a counter of µs, not a queue length; its raw value only tells how long the server has been up.",
            _MODEL,
        ),
        Metric(
            "nv_inference_compute_input_duration_us",
            "counter",
            "µs",
            "Preparing input tensors for the model: copies, gathering.",
            "Large beside `infer`: big inputs, or many small ones that are gathered.",
            _MODEL,
        ),
        Metric(
            "nv_inference_compute_infer_duration_us",
            "counter",
            "µs",
            "Running the model, of every request.",
            "Over the answered requests: mean time in the model. Trap: each request of a batch counts the whole batch's"
            " time, so its rate is not the instances' utilization; a query below corrects for that.",
            _MODEL,
        ),
        Metric(
            "nv_inference_compute_output_duration_us",
            "counter",
            "µs",
            "Handing output tensors out.",
            "Large: big outputs; ask for fewer outputs, or for top-k.",
            _MODEL,
        ),
        Metric(
            "nv_inference_request_summary_us",
            "summary",
            "µs",
            "Percentiles of the whole time, over a sliding window. Absent for models with a response cache.",
            "Looking at one server. Trap: percentiles of pods cannot be combined; the option costs throughput (a third"
            " was reported, server#8561). Off unless `--metrics-config summary_latencies=true`.",
            _MODEL,
            (),
            _SUMMARY,
        ),
        Metric(
            "nv_inference_queue_summary_us",
            "summary",
            "µs",
            "Percentiles of the time in the queue.",
            "As above.",
            _MODEL,
            (),
            _SUMMARY,
        ),
        Metric(
            "nv_inference_compute_input_summary_us",
            "summary",
            "µs",
            "Percentiles of input preparation.",
            "As above.",
            _MODEL,
            (),
            _SUMMARY,
        ),
        Metric(
            "nv_inference_compute_infer_summary_us",
            "summary",
            "µs",
            "Percentiles of running the model.",
            "As above.",
            _MODEL,
            (),
            _SUMMARY,
        ),
        Metric(
            "nv_inference_compute_output_summary_us",
            "summary",
            "µs",
            "Percentiles of output handling.",
            "As above.",
            _MODEL,
            (),
            _SUMMARY,
        ),
        Metric(
            "nv_model_load_duration_secs",
            "gauge",
            "seconds",
            "How long the model took to load.",
            "What a new pod, or a restart, costs beside its fetch. Trap: warm-up is in it.",
            _MODEL,
            (),
            "",
            "24.11",
        ),
    ),
)
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
            _MODEL,
        ),
        Metric(
            "nv_cache_num_misses_per_model",
            "counter",
            "requests",
            "Requests that had to be computed.",
            "See above.",
            _MODEL,
        ),
        Metric(
            "nv_cache_hit_duration_per_model",
            "counter",
            "µs",
            "Time of looking up hits.",
            "Over the hits: what a cached answer costs.",
            _MODEL,
        ),
        Metric(
            "nv_cache_miss_duration_per_model",
            "counter",
            "µs",
            "Time of looking up and storing misses.",
            "Over the misses: what the cache costs all others. Close to the time in the model: turn it off.",
            _MODEL,
        ),
        Metric(
            "nv_cache_hit_summary_per_model",
            "summary",
            "µs",
            "Percentiles of the hits' time.",
            "Of one server only.",
            _MODEL,
            (),
            _SUMMARY,
        ),
        Metric(
            "nv_cache_miss_summary_per_model",
            "summary",
            "µs",
            "Percentiles of the misses' time.",
            "Of one server only.",
            _MODEL,
            (),
            _SUMMARY,
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
MACHINE = Group(
    "Triton: the machine",
    "Refreshed every `--metrics-interval-ms` (2 s) whatever the scrape interval; 0 before the first refresh. The"
    " development server's wheel, and every node without a GPU, has none of those marked *GPU only*.",
    (
        Metric(
            "nv_cpu_utilization",
            "gauge",
            "ratio 0 to 1",
            "Busy share of all cores in the last interval.",
            "Trap: of the *node*, from /proc, not of the pod and not of its limit; every pod on a node reports the"
            " same. For a pod: `container_cpu_usage_seconds_total`.",
        ),
        Metric(
            "nv_cpu_memory_total_bytes",
            "gauge",
            "bytes",
            "Memory of the node.",
            "Trap: the node's, not the pod's limit.",
        ),
        Metric(
            "nv_cpu_memory_used_bytes",
            "gauge",
            "bytes",
            "Memory in use on the node.",
            "Trap: as above; for a pod `container_memory_working_set_bytes`.",
        ),
        Metric(
            "nv_pinned_memory_pool_total_bytes",
            "gauge",
            "bytes",
            "Size of the pool of page-locked memory for copies to GPUs.",
            "256 MiB unless `--pinned-memory-pool-byte-size`. On a server without a GPU it is reserved in name only.",
            (),
            (),
            "",
            "24.01",
        ),
        Metric(
            "nv_pinned_memory_pool_used_bytes",
            "gauge",
            "bytes",
            "How much of it is in use.",
            "Near the total: copies fall back to pageable memory and slow down.",
            (),
            (),
            "",
            "24.01",
        ),
        Metric(
            "nv_gpu_utilization",
            "gauge",
            "ratio 0 to 1",
            "Share of the last sampling period in which any kernel ran.",
            "Trap: one small kernel at a time is 1.0; it tells idle from busy, not how full. Absent under MIG"
            " (server#5324).",
            _GPU,
            (),
            "GPU",
        ),
        Metric(
            "nv_gpu_memory_total_bytes",
            "gauge",
            "bytes",
            "Memory that the GPU has.",
            "What the next is a share of.",
            _GPU,
            (),
            "GPU",
        ),
        Metric(
            "nv_gpu_memory_used_bytes",
            "gauge",
            "bytes",
            "Memory in use, by all processes.",
            "Trap: onnxruntime keeps what it once took: it falls only when a model is unloaded.",
            _GPU,
            (),
            "GPU",
        ),
        Metric(
            "nv_gpu_power_usage",
            "gauge",
            "watts",
            "Power at the moment.",
            "For energy take the counter below.",
            _GPU,
            (),
            "GPU",
        ),
        Metric(
            "nv_gpu_power_limit",
            "gauge",
            "watts",
            "The board's power limit.",
            "`nv_gpu_power_usage` near it: clocks are being lowered.",
            _GPU,
            (),
            "GPU",
        ),
        Metric(
            "nv_energy_consumption",
            "counter",
            "joules",
            "Energy of the board since Triton started.",
            "Over the samples: joules per inference. Trap: of the whole board, whoever else uses it; absent under MIG.",
            _GPU,
            (),
            "GPU",
        ),
    ),
)

GROUPS: tuple[Group, ...] = (REQUESTS, LATENCIES, RESPONSE_CACHE, MACHINE)
"""In the order of docs/metrics.md."""
