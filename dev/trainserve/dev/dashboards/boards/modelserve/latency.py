"""Latency of the service, and batching of its requests."""

from __future__ import annotations

from trainserve.dev.dashboards import objectives, palette, units
from trainserve.dev.dashboards.boards.modelserve.labels import IDLE, MODEL, RATE, SERVE
from trainserve.dev.dashboards.layout import Section
from trainserve.dev.dashboards.panels import Query, graph, heat

BURN = [(objectives.SLOW_BURN, palette.WARNING), (objectives.FAST_BURN, palette.FAILURE)]


def latency() -> Section:
    """Build the section with latency by stage and by percentile, and the burn of the latency budget."""

    def stage(name: str) -> str:
        answered = f"sum(rate(nv_inference_request_success{{{MODEL}}}{RATE}))"
        return f"sum(rate(nv_inference_{name}_duration_us{{{MODEL}}}{RATE})) / {answered} / 1e6"

    percentiles = (("p50", palette.THIRD), ("p95", palette.ACCENT), ("p99", palette.SECOND))
    return Section(
        "Latency",
        [
            graph(
                "Latency by stage",
                "Mean time of a request in the queue (the wait for company included), in preparing inputs, in the"
                " model, and in handing out outputs. Network and client are not in it.",
                Query(stage("queue"), "queue", palette.WAITING),
                Query(stage("compute_input"), "input", palette.THIRD),
                Query(stage("compute_infer"), "model", palette.ACCENT),
                Query(stage("compute_output"), "output", palette.SECOND),
                unit=units.SECONDS,
                stacked=True,
                empty=IDLE,
            ),
            graph(
                "Percentiles",
                "From the servers' latency histogram (source triton) where their release has one, else from the"
                " probe's own inferences, one a second for each pod. Dashed: the p99 that spec.slo asks for.",
                *(
                    Query(f"modelserve:latency_seconds:{name}_5m{{{MODEL}}}", f"{name} ({{{{source}}}})", colour)
                    for name, colour in percentiles
                ),
                Query(
                    f"max(trainserve_modelserve_objective_p99_seconds{{{SERVE}}})",
                    "objective",
                    palette.FAILURE,
                    dashed=True,
                ),
                unit=units.SECONDS,
                empty="no histogram",
            ),
            graph(
                "Latency budget burn",
                f"How many times more requests than allowed ({objectives.SLOW_BUDGET:.0%}) are slower than the"
                " objective. The lines are where alerts begin.",
                Query(f"modelserve:latency_burn:ratio5m{{{SERVE}}}", "5 min", palette.ACCENT),
                Query(f"modelserve:latency_burn:ratio1h{{{SERVE}}}", "1 h", palette.SECOND),
                unit=units.TIMES,
                thresholds=BURN,
                empty="no objective is set",
            ),
        ],
    )


def histograms() -> Section:
    """Build the section with latency histograms of clients' requests and of the probe's, as heat maps."""

    def buckets(metric: str) -> str:
        return f"sum by (le) (increase({metric}_bucket{{{MODEL}}}{RATE}))"

    return Section(
        "Latency histograms",
        [
            heat(
                "Clients' requests",
                "How many requests took how long, as Triton counts from release 26.01 on.",
                buckets("nv_inference_first_response_histogram_ms"),
                unit=units.MILLISECONDS,
                empty="this release of Triton has no histogram",
            ),
            heat(
                "Probe's requests",
                "How long the probe's own inferences took, on every release: one a second for each pod.",
                buckets("trainserve_probe_inference_duration_seconds"),
                unit=units.SECONDS,
            ),
        ],
    )


def batching() -> Section:
    """Build the section with batch size, queueing and concurrency."""
    return Section(
        "Batching and load",
        [
            graph(
                "Batch size",
                "Mean size of the batches that dynamic batching makes. 1 under load: batching is off, or one client"
                " waits for each answer.",
                Query(f"max(modelserve:batch_size:mean5m{{{MODEL}}})", "mean batch", palette.ACCENT),
                unit=units.COUNT,
                empty=IDLE,
            ),
            graph(
                "Queue against model",
                "Time in the queue over time in the model. Near 0 is idle; above 1 requests mostly wait: more"
                " replicas, or less load.",
                Query(f"max(modelserve:queue_compute:ratio5m{{{MODEL}}})", "queue : model", palette.ACCENT),
                unit=units.COUNT,
                thresholds=[(1, palette.WARNING)],
                empty=IDLE,
            ),
            graph(
                "Requests in flight",
                "Mean number of requests inside all servers, by Little's law, and those that wait in the queue at the"
                " moment of a scrape.",
                Query(f"max(modelserve:concurrency:mean5m{{{MODEL}}})", "in flight", palette.ACCENT),
                Query(f"sum(nv_inference_pending_request_count{{{MODEL}}})", "queued", palette.WAITING),
                unit=units.COUNT,
                empty=IDLE,
            ),
        ],
    )
