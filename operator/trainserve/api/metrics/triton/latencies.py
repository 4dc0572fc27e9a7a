"""Triton's latency metrics: sums, percentiles and a histogram."""

from __future__ import annotations

from trainserve.api.metrics.definition import Group, Metric
from trainserve.api.metrics.triton.labels import MODEL, SUMMARY

HISTOGRAM = "nv_inference_first_response_histogram_ms"

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
            MODEL,
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
            MODEL,
        ),
        Metric(
            "nv_inference_queue_duration_us",
            "counter",
            "µs",
            "Time spent waiting in the queue, the wait for company (`maxQueueDelay`) included.",
            "Its share of `nv_inference_request_duration_us` tells when a server is full, on any hardware. Trap: it is"
            " a counter of µs, not a queue length; its raw value only tells how long the server has been up.",
            MODEL,
        ),
        Metric(
            "nv_inference_compute_input_duration_us",
            "counter",
            "µs",
            "Preparing input tensors for the model: copies, gathering.",
            "Large beside `infer`: big inputs, or many small ones that are gathered.",
            MODEL,
        ),
        Metric(
            "nv_inference_compute_infer_duration_us",
            "counter",
            "µs",
            "Running the model, of every request.",
            "Over the answered requests: mean time in the model. Trap: each request of a batch counts the whole batch's"
            " time, so its rate is not the instances' utilization; a query below corrects for that.",
            MODEL,
        ),
        Metric(
            "nv_inference_compute_output_duration_us",
            "counter",
            "µs",
            "Handing output tensors out.",
            "Large: big outputs; ask for fewer outputs, or for top-k.",
            MODEL,
        ),
        Metric(
            "nv_inference_request_summary_us",
            "summary",
            "µs",
            "Percentiles of the whole time, over a sliding window. Absent for models with a response cache.",
            "Looking at one server. Trap: percentiles of pods cannot be combined; the option costs throughput (a third"
            " was reported, server#8561). Off unless `--metrics-config summary_latencies=true`.",
            MODEL,
            (),
            SUMMARY,
        ),
        Metric(
            "nv_inference_queue_summary_us",
            "summary",
            "µs",
            "Percentiles of the time in the queue.",
            "As above.",
            MODEL,
            (),
            SUMMARY,
        ),
        Metric(
            "nv_inference_compute_input_summary_us",
            "summary",
            "µs",
            "Percentiles of input preparation.",
            "As above.",
            MODEL,
            (),
            SUMMARY,
        ),
        Metric(
            "nv_inference_compute_infer_summary_us",
            "summary",
            "µs",
            "Percentiles of running the model.",
            "As above.",
            MODEL,
            (),
            SUMMARY,
        ),
        Metric(
            "nv_inference_compute_output_summary_us",
            "summary",
            "µs",
            "Percentiles of output handling.",
            "As above.",
            MODEL,
            (),
            SUMMARY,
        ),
        Metric(
            "nv_model_load_duration_secs",
            "gauge",
            "seconds",
            "How long the model took to load.",
            "What a new pod, or a restart, costs beside its fetch. Trap: warm-up is in it.",
            MODEL,
            (),
            "",
            "24.11",
        ),
    ),
)
