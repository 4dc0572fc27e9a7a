"""ModelServe: what one service answers, how fast, from how many servers, and of which version."""

from __future__ import annotations

from trainserve.dev.dashboards import links, marks, objectives, palette, units
from trainserve.dev.dashboards.layout import Board, Section
from trainserve.dev.dashboards.panels import NO_GPU, Column, Query, figure, graph, heat, listing
from trainserve.dev.dashboards.variables import chosen

NAMESPACE = 'namespace="$namespace"'
SERVE = f'{NAMESPACE},modelserve="$modelserve"'
MODEL = f'{SERVE},model="$model"'
"""The model that clients ask for: an ensemble counts itself and its steps, which are models of their own."""
RATE = "[$__rate_interval]"
IDLE = "no requests"
BURN = [(objectives.SLOW_BURN, palette.WARNING), (objectives.FAST_BURN, palette.FAILURE)]


def board() -> Board:
    """One ModelServe."""
    return Board(
        links.MODELSERVE,
        "One ModelServe: what it answers, how fast, from how many servers, and of which version.",
        [_now(), _traffic(), _latency(), _histograms(), _batching(), _servers(), _gpu()],
        [
            chosen(
                "namespace",
                "Namespace",
                "Namespaces with a ModelServe.",
                "label_values(trainserve_modelserve_info, namespace)",
            ),
            chosen(
                "modelserve",
                "ModelServe",
                "ModelServes of the namespace.",
                f"label_values(trainserve_modelserve_info{{{NAMESPACE}}}, modelserve)",
            ),
            chosen(
                "model",
                "Model",
                "The name under which the servers serve it, as their probes know it.",
                f"label_values(trainserve_probe_up{{{SERVE}}}, model)",
                hidden=True,
            ),
        ],
        [
            marks.mark(
                "Rollout",
                f"trainserve_modelserve_traffic_since_timestamp_seconds{{{SERVE}}}",
                "version {{version}} takes traffic ({{digest}})",
                colour=palette.ACCENT,
                tags="version",
            ),
            marks.mark(
                "Verified",
                f"min by (version) (trainserve_probe_verification_timestamp_seconds{{{SERVE}}} > 0)",
                "version {{version}}: the recorded samples were compared",
                colour=palette.SUCCESS,
                tags="version",
            ),
        ],
    )


def _now() -> Section:
    ratio = f"trainserve_modelserve_replicas_ready{{{SERVE}}} / trainserve_modelserve_replicas_desired{{{SERVE}}}"
    return Section(
        "Now",
        [
            figure(
                "Phase",
                "The ModelServe's phase, and the reason of the condition behind it.",
                Query(f"trainserve_modelserve_phase{{{SERVE}}}", "{{phase}}: {{reason}}"),
                unit=units.WHOLE,
                names=True,
                width=6,
            ),
            figure(
                "Version",
                "What takes traffic: the model and the number of its version.",
                Query(f"trainserve_modelserve_info{{{SERVE}}}", "{{model}}/{{version}}"),
                unit=units.WHOLE,
                names=True,
                width=5,
                empty="nothing yet",
            ),
            figure(
                "Verified",
                "Whether the recorded samples matched in the running servers. Unknown while servers start, and where"
                " nothing was recorded.",
                Query(f"trainserve_modelserve_verified{{{SERVE}}}"),
                unit=units.WHOLE,
                mappings=[palette.texts({"1": ("matches", palette.SUCCESS), "0": ("differs", palette.FAILURE)})],
                empty="not known",
            ),
            figure(
                "Replicas ready",
                "Share of the replicas asked for that are ready.",
                Query(ratio),
                unit=units.RATIO,
                decimals=0,
                base=palette.FAILURE,
                thresholds=[(0.01, palette.WARNING), (1, palette.SUCCESS)],
                empty="none asked for",
            ),
            figure(
                "Availability, 1 h",
                f"By requests, by the probe's inferences or by time with a ready replica, whichever is worst;"
                f" {objectives.AVAILABILITY:.1%} is asked for. Requests that a client gave up do not count as failed.",
                Query(f"1 - modelserve:unavailability:ratio1h{{{SERVE}}}"),
                unit=units.RATIO,
                decimals=3,
                base=palette.FAILURE,
                thresholds=[(objectives.AVAILABILITY, palette.SUCCESS)],
                width=5,
                empty=IDLE,
            ),
        ],
    )


def _traffic() -> Section:
    return Section(
        "Traffic",
        [
            graph(
                "Requests",
                "Answered and failed, as the servers count them; the probe's own, one a second for each pod, among"
                " them. REJECTED waited too long in the queue, CANCELED was given up by its client, BACKEND is the"
                " model.",
                # Failures below, where a line at 0 does not lie upon the other's.
                Query(f"sum by (reason) (rate(nv_inference_request_failure{{{MODEL}}}{RATE}))", "{{reason}}"),
                Query(f"sum(rate(nv_inference_request_success{{{MODEL}}}{RATE}))", "answered", palette.SUCCESS),
                unit=units.REQUESTS,
                stacked=True,
                empty=IDLE,
                colours={
                    "BACKEND": palette.FAILURE,
                    "REJECTED": palette.WARNING,
                    "OTHER": palette.SECOND,
                    "CANCELED": palette.WAITING,
                },
            ),
            graph(
                "Errors",
                "Share of requests that failed in the servers, and unavailability: the worst of that, of the probe's"
                " failed inferences and of the time without a ready replica. The line is the budget.",
                Query(f"max(modelserve:errors:ratio5m{{{SERVE}}})", "failed, 5 min", palette.WARNING),
                Query(f"modelserve:unavailability:ratio5m{{{SERVE}}}", "unavailable, 5 min", palette.ACCENT),
                Query(f"modelserve:unavailability:ratio1h{{{SERVE}}}", "unavailable, 1 h", palette.SECOND),
                unit=units.RATIO,
                thresholds=[(objectives.ERROR_BUDGET, palette.FAILURE)],
                empty=IDLE,
            ),
            graph(
                "Images",
                "Samples of clients that were computed: a request of 8 images counts 8. Cached answers are not in it.",
                Query(f"sum(modelserve:inferences:rate5m{{{SERVE}}})", "computed", palette.ACCENT),
                unit=units.IMAGES,
                empty=IDLE,
            ),
        ],
    )


def _latency() -> Section:
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


def _histograms() -> Section:
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


def _batching() -> Section:
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


def _servers() -> Section:
    differences = f"max by (pod, version) (trainserve_probe_max_abs_difference{{{SERVE}}})"
    return Section(
        "Servers",
        [
            graph(
                "Replicas",
                "Ready, of the version that takes traffic; answering, as their probes have it, of any version.",
                Query(f"max(trainserve_modelserve_replicas_desired{{{SERVE}}})", "asked for", palette.WAITING, True),
                Query(f"max(trainserve_modelserve_replicas_ready{{{SERVE}}})", "ready", palette.SUCCESS),
                Query(f"sum(trainserve_probe_up{{{SERVE}}})", "answering", palette.ACCENT),
                unit=units.WHOLE,
            ),
            graph(
                "Difference from what was recorded",
                "Largest difference between a server's outputs for the recorded samples and what PyTorch gave. Servers"
                " of one version that differ run on different hardware.",
                Query(differences, "{{pod}} version {{version}}"),
                unit=units.COUNT,
                empty="nothing was recorded",
            ),
            listing(
                "Settings",
                "What takes traffic, and the settings that it is served with.",
                f"max by (version, digest, instances, max_batch) (trainserve_modelserve_info{{{SERVE}}})",
                columns=[
                    Column("Version", "version", width=95),
                    Column("Digest", "digest", width=110),
                    Column("Instances", "instances", width=100),
                    Column("Max batch", "max_batch", width=100),
                ],
                width=8,
                height=8,
                empty="nothing is served",
            ),
        ],
    )


def _gpu() -> Section:
    gpu = "{{pod}} {{gpu_uuid}}"
    return Section(
        "GPU",
        [
            graph(
                "GPU utilisation",
                "Share of time in which any kernel ran: idle or busy, not how full.",
                Query(
                    f"gpu:utilization:ratio{{{NAMESPACE}}} and on (namespace, pod) trainserve_probe_up{{{SERVE}}}",
                    "{{pod}} GPU {{gpu}}",
                ),
                unit=units.RATIO,
                high=1,
                width=6,
                empty=NO_GPU,
            ),
            graph(
                "GPU memory",
                "In use by all processes. onnxruntime keeps what it once took.",
                Query(f"nv_gpu_memory_used_bytes{{{SERVE}}}", gpu),
                unit=units.BYTES,
                width=6,
                empty=NO_GPU,
            ),
            graph(
                "Power",
                "Of the whole boards, at the moment of a scrape, and from their energy counters over 5 minutes.",
                Query(f"nv_gpu_power_usage{{{SERVE}}}", gpu),
                Query(f"sum(modelserve:energy_joules:rate5m{{{SERVE}}})", "all, 5 min", palette.ACCENT),
                unit=units.WATTS,
                width=6,
                empty=NO_GPU,
            ),
            graph(
                "Energy per 1,000 inferences",
                "Energy of the boards over the samples that were computed.",
                Query(
                    f"max(modelserve:energy_joules_per_1000_inferences:ratio5m{{{SERVE}}})",
                    "1,000 inferences",
                    palette.ACCENT,
                ),
                unit=units.JOULES,
                width=6,
                empty=NO_GPU,
            ),
        ],
    )
