"""Operator: load, writes to the API server, and outcomes of objects."""

from __future__ import annotations

from trainserve.dev.dashboards import links, palette, units
from trainserve.dev.dashboards.layout import Board, Section
from trainserve.dev.dashboards.panels import Query, figure, graph
from trainserve.dev.dashboards.variables import chosen

SCOPE = 'namespace="$namespace",job="trainserve-operator"'
"""Label matchers that include the job, because a Prometheus that also scrapes annotated pods has the operator twice."""
RATE = "[$__rate_interval]"
OWN = f"and on (namespace, pod) trainserve_leading{{{SCOPE}}}"
"""Keeps only series of the operator's processes, because others in its namespace export process_*, too."""


def board() -> Board:
    """Build the board of the operator's processes."""
    return Board(
        links.OPERATOR,
        "TrainServe's operator: whether it keeps up, what it writes to the API server, and what came of it.",
        [_now(), _reconciles(), _queue(), _api(), _outcomes(), _process()],
        [
            chosen(
                "namespace",
                "Operator's namespace",
                "The namespace that the operator runs in.",
                "label_values(trainserve_leading, namespace)",
            )
        ],
    )


def _now() -> Section:
    def objects(kind: str) -> str:
        return f"sum(max by (namespace, phase) (trainserve_{kind}))"

    leads = {"0": ("nobody leads", palette.FAILURE), "1": ("one leads", palette.SUCCESS)}
    return Section(
        "Now",
        [
            figure(
                "Leading",
                "Replicas that hold the Lease and act: one, or nothing happens.",
                Query(f"sum(trainserve_leading{{{SCOPE}}})"),
                unit=units.WHOLE,
                mappings=[palette.texts(leads)],
                base=palette.FAILURE,
                empty="no operator",
            ),
            figure(
                "Objects",
                "TrainJobs and ModelServes in the cluster.",
                Query(f"({objects('trainjobs')} or vector(0)) + ({objects('modelserves')} or vector(0))"),
                unit=units.WHOLE,
            ),
            figure(
                "Due now",
                "Objects that are due for a reconcile or being reconciled.",
                Query(f"max(trainserve_queue_depth{{{SCOPE}}} and on (namespace, pod) trainserve_leading == 1)"),
                unit=units.WHOLE,
                thresholds=[(100, palette.WARNING)],
            ),
            figure(
                "Longest due",
                "For how long the object that has waited longest has been due or worked on.",
                Query(f"max(trainserve_queue_oldest_age_seconds{{{SCOPE}}})"),
                unit=units.SECONDS,
                base=palette.SUCCESS,
                thresholds=[(60, palette.WARNING), (300, palette.FAILURE)],
            ),
            figure(
                "Memory now",
                "Resident memory of the largest replica.",
                Query(f"max(process_resident_memory_bytes{{{SCOPE}}} {OWN})"),
                unit=units.BYTES,
            ),
            figure(
                "Up for",
                "Since the youngest replica started.",
                Query(f"time() - max(process_start_time_seconds{{{SCOPE}}} {OWN})"),
                unit=units.SECONDS,
                decimals=0,
            ),
        ],
    )


def _reconciles() -> Section:
    total = f"sum by (kind) (rate(trainserve_reconcile_total{{{SCOPE}}}{RATE}))"
    done = f'sum by (kind) (rate(trainserve_reconcile_total{{{SCOPE},result="success"}}{RATE}))'
    failed = f'sum by (kind) (rate(trainserve_reconcile_total{{{SCOPE},result="error"}}{RATE}))'

    def quantile(share: float) -> str:
        buckets = f"rate(trainserve_reconcile_duration_seconds_bucket{{{SCOPE}}}{RATE})"
        return f"histogram_quantile({share}, sum by (kind, le) ({buckets}))"

    return Section(
        "Reconciles",
        [
            graph(
                "Reconciles",
                "How often objects are looked at, by kind and result. An error is tried again.",
                # Errors are stacked at the bottom, where a line at 0 does not overlap another line.
                Query(failed, "{{kind}} error", palette.FAILURE),
                Query(done, "{{kind}} success"),
                unit=units.PER_SECOND,
                stacked=True,
                colours=palette.of_kinds(" success"),
            ),
            graph(
                "Share of reconciles that failed",
                "Single failures are ordinary (a write that came second); minutes of them are not.",
                Query(f"({failed} or 0 * {total}) / {total}", "{{kind}}"),
                unit=units.RATIO,
                thresholds=[(0.05, palette.WARNING)],
                empty="no reconciles",
                colours=palette.of_kinds(""),
            ),
            graph(
                "Duration of a reconcile",
                "Its writes to the API server included, the wait in the queue not.",
                Query(quantile(0.5), "{{kind}} p50"),
                Query(quantile(0.99), "{{kind}} p99"),
                unit=units.SECONDS,
                empty="no reconciles",
                colours=palette.of_kinds(" p50", " p99"),
            ),
        ],
    )


def _queue() -> Section:
    return Section(
        "Queue and watches",
        [
            graph(
                "Objects due",
                "Due for a reconcile or being reconciled. A replica that does not lead counts what it would do.",
                Query(f"trainserve_queue_depth{{{SCOPE}}}", "{{pod}}"),
                unit=units.WHOLE,
                width=6,
            ),
            graph(
                "Longest wait",
                "Steadily rising: the operator does not keep up, or one reconcile hangs.",
                Query(f"trainserve_queue_oldest_age_seconds{{{SCOPE}}}", "{{pod}}"),
                unit=units.SECONDS,
                width=6,
                thresholds=[(60, palette.WARNING), (300, palette.FAILURE)],
            ),
            graph(
                "Who leads",
                "1 on the replica that holds the Lease. The sum is 1, but for a moment while it changes hands.",
                Query(f"trainserve_leading{{{SCOPE}}}", "{{pod}}"),
                unit=units.WHOLE,
                width=4,
                high=1,
            ),
            graph(
                "Watch restarts per hour",
                "Watches that had to list all objects again. A few are normal; many mean an API server that goes away.",
                Query(f"sum by (kind) (increase(trainserve_watch_restarts_total{{{SCOPE}}}[1h]))", "{{kind}}"),
                unit=units.COUNT,
                width=8,
                colours=palette.of_kinds(""),
            ),
        ],
    )


def _api() -> Section:
    def writes(by: str) -> str:
        return f"sum by ({by}) (rate(trainserve_api_writes_total{{{SCOPE}}}{RATE}))"

    return Section(
        "API server",
        [
            graph(
                "Writes by verb and kind",
                "Requests that change something. At rest there are none.",
                Query(writes("verb, kind"), "{{verb}} {{kind}}"),
                unit=units.PER_SECOND,
                width=12,
                stacked=True,
            ),
            graph(
                "Writes by answer",
                "409 is ordinary: somebody was faster. 403 and 422 are refusals that only a change of rights or of the"
                " object mends; none: no answer came.",
                Query(writes("code"), "{{code}}"),
                unit=units.PER_SECOND,
                width=6,
                stacked=True,
                colours={
                    "200": palette.SUCCESS,
                    "201": palette.SUCCESS,
                    "409": palette.WAITING,
                    "403": palette.FAILURE,
                    "422": palette.FAILURE,
                    "none": palette.FAILURE,
                },
            ),
            graph(
                "Status writes",
                "Status writes that the API server took. Those of a training are its progress.",
                Query(f"sum by (kind) (rate(trainserve_status_writes_total{{{SCOPE}}}{RATE}))", "{{kind}}"),
                unit=units.PER_SECOND,
                width=6,
                stacked=True,
                colours=palette.of_kinds(""),
            ),
        ],
    )


def _outcomes() -> Section:
    def quantile(share: float, metric: str) -> str:
        return f"histogram_quantile({share}, sum by (le) (rate({metric}_bucket{{{SCOPE}}}[$__range])))"

    pending, serving = "trainserve_trainjob_pending_seconds", "trainserve_publish_to_serving_seconds"
    return Section(
        "What came of it, over the time that is shown",
        [
            graph(
                "Attempts that ended, per hour",
                "By reason; Succeeded is one of them.",
                Query(f"sum by (reason) (increase(trainserve_attempts_total{{{SCOPE}}}[1h]))", "{{reason}}"),
                unit=units.COUNT,
                width=12,
                stacked=True,
                colours={"Succeeded": palette.SUCCESS},
            ),
            figure(
                "Versions published",
                "By TrainJobs.",
                Query(f"sum(increase(trainserve_versions_published_total{{{SCOPE}}}[$__range]))"),
                unit=units.COUNT,
                decimals=0,
                width=6,
                height=8,
            ),
            figure(
                "Rollouts",
                "Of ModelServes: completed, or failed, which leaves the old version serving.",
                Query(f"sum by (outcome) (increase(trainserve_rollouts_total{{{SCOPE}}}[$__range]))", "{{outcome}}"),
                unit=units.COUNT,
                decimals=0,
                width=6,
                height=8,
                both=True,
                empty="none",
            ),
            figure(
                "Wait until a TrainJob runs",
                "From its creation until all its pods run: half waited less than p50, nine of ten less than p90.",
                Query(quantile(0.5, pending), "p50"),
                Query(quantile(0.9, pending), "p90"),
                unit=units.SECONDS,
                width=12,
            ),
            figure(
                "From published to served",
                "From the end of the TrainJob that published a version until a ModelServe that follows it serves it.",
                Query(quantile(0.5, serving), "p50"),
                Query(quantile(0.9, serving), "p90"),
                unit=units.SECONDS,
                width=12,
            ),
        ],
    )


def _process() -> Section:
    return Section(
        "Process",
        [
            graph(
                "Memory",
                "Resident memory; compare with the container's limit.",
                Query(f"process_resident_memory_bytes{{{SCOPE}}} {OWN}", "{{pod}}"),
                unit=units.BYTES,
                width=6,
            ),
            graph(
                "CPU",
                "Cores in use.",
                Query(f"rate(process_cpu_seconds_total{{{SCOPE}}}{RATE}) {OWN}", "{{pod}}"),
                unit=units.CORES,
                width=6,
            ),
            graph(
                "Open files",
                "File descriptors in use, and how many may be.",
                Query(f"process_open_fds{{{SCOPE}}} {OWN}", "{{pod}}"),
                Query(f"max(process_max_fds{{{SCOPE}}} {OWN})", "limit", palette.FAILURE, dashed=True),
                unit=units.WHOLE,
                width=6,
                logarithmic=True,
                low=None,
            ),
            graph(
                "Restarts per hour",
                "How often a replica's process was started again.",
                Query(f"changes(process_start_time_seconds{{{SCOPE}}}[1h]) {OWN}", "{{pod}}"),
                unit=units.WHOLE,
                width=6,
                thresholds=[(1, palette.WARNING)],
            ),
        ],
    )
