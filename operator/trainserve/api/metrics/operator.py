"""Metrics of the operator's process.

A histogram or counter has no label that names an object, so its series do not grow with the number of objects.
"""

from __future__ import annotations

from trainserve.api.metrics.definition import Group, Metric

RECONCILES = Metric(
    "trainserve_reconcile_total",
    "counter",
    "reconciles",
    "Reconciles, by kind and result (success, error).",
    "Trap: an error is tried again: look at the ratio over minutes, not at single ones.",
    ("kind", "result"),
)
RECONCILE_DURATION = Metric(
    "trainserve_reconcile_duration_seconds",
    "histogram",
    "seconds",
    "Duration of one reconcile, its writes to the API server included.",
    "Trap: the wait in the queue is not in it; see the age of the oldest key.",
    ("kind",),
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
QUEUE_DEPTH = Metric(
    "trainserve_queue_depth",
    "gauge",
    "objects",
    "Objects that are due for a reconcile or being reconciled.",
    "Trap: a standby replica, which does not act, counts what it would have to do.",
)
QUEUE_AGE = Metric(
    "trainserve_queue_oldest_age_seconds",
    "gauge",
    "seconds",
    "Time for which the object that has waited longest has been due or worked on; 0 on a replica that does not lead.",
    "Steadily rising: the operator does not keep up, or one reconcile hangs.",
)
LEADING = Metric(
    "trainserve_leading",
    "gauge",
    "0 or 1",
    "1 on the replica that holds the Lease and acts, else 0.",
    "The sum over replicas is 1. If it is 0 for minutes, no replica acts.",
)
API_WRITES = Metric(
    "trainserve_api_writes_total",
    "counter",
    "requests",
    "Writes to the API server by verb (create, apply, patch, update, delete), kind of the object and HTTP status code;"
    " code `none` where no answer came.",
    "403 and 422 are refusals that nothing but a change of rights or of the object mends. Trap: 409 is ordinary.",
    ("verb", "kind", "code"),
)
STATUS_WRITES = Metric(
    "trainserve_status_writes_total",
    "counter",
    "writes",
    "Status writes that the API server took, by kind.",
    "Its rate at rest is 0.",
    ("kind",),
)
WATCH_RESTARTS = Metric(
    "trainserve_watch_restarts_total",
    "counter",
    "restarts",
    "Watches that had to list all objects of a kind anew after the first time.",
    "A few an hour are ordinary; many are an API server that goes away. Trap: a kind without objects is not seen to.",
    ("kind",),
)
PENDING = Metric(
    "trainserve_trainjob_pending_seconds",
    "histogram",
    "seconds",
    "Time from a TrainJob's creation until it was first seen to run, or to have run if it was quick.",
    "How long people wait for GPUs. Trap: a job that never ran is not in it; see `trainserve_trainjob_phase`.",
    (),
    (0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400),
)
ATTEMPTS = Metric(
    "trainserve_attempts_total",
    "counter",
    "attempts",
    "Attempts of TrainJobs that ended, by reason; `Succeeded` is one of them.",
    "Which faults a cluster has. Trap: counted when the status was written, so an attempt is counted once.",
    ("reason",),
)
PUBLISHED = Metric(
    "trainserve_versions_published_total",
    "counter",
    "versions",
    "Versions that TrainJobs published.",
    "Trap: what a run by hand publishes is not in it.",
)
ROLLOUTS = Metric(
    "trainserve_rollouts_total",
    "counter",
    "rollouts",
    "Rollouts of ModelServes that ended, by outcome: `completed` (the version took traffic) or `failed`.",
    "Trap: a rollout that failed and is mended counts once as each; one whose container ends again and again may count"
    " as failed each time.",
    ("outcome",),
)
PUBLISH_TO_SERVING = Metric(
    "trainserve_publish_to_serving_seconds",
    "histogram",
    "seconds",
    "Time from the end of the TrainJob that published a version until a ModelServe that follows it serves it.",
    "How fast a training reaches users. Trap: versions that are pinned or were published before the ModelServe was"
    " made are not in it.",
    (),
    (1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600),
)
TRAINJOBS_BY_PHASE = Metric(
    "trainserve_trainjobs",
    "gauge",
    "TrainJobs",
    "TrainJobs in the cluster, by namespace and phase, on the replica that leads.",
    "Trap: only phases that some object has; a phase without series is 0, so add `or vector(0)`.",
    ("namespace", "phase"),
)
MODELSERVES_BY_PHASE = Metric(
    "trainserve_modelserves",
    "gauge",
    "ModelServes",
    "ModelServes in the cluster, by namespace and phase, on the replica that leads.",
    "As above.",
    ("namespace", "phase"),
)
MEMORY = Metric(
    "process_resident_memory_bytes",
    "gauge",
    "bytes",
    "Resident memory size in bytes.",
    "Of the operator's process, by the Python client; compare with the container's limit.",
)
STARTED = Metric(
    "process_start_time_seconds",
    "gauge",
    "Unix seconds",
    "Start time of the process since unix epoch in seconds.",
    "`changes` of it over a day are restarts.",
)
CPU = Metric(
    "process_cpu_seconds_total",
    "counter",
    "seconds",
    "Total user and system CPU time spent in seconds.",
    "Its rate is cores in use.",
)
VIRTUAL_MEMORY = Metric(
    "process_virtual_memory_bytes",
    "gauge",
    "bytes",
    "Virtual memory size in bytes.",
    "Trap: address space, not memory in use.",
)
OPEN_FILES = Metric(
    "process_open_fds",
    "gauge",
    "files",
    "Number of open file descriptors.",
    "Near the next one: connections are refused.",
)
MOST_FILES = Metric(
    "process_max_fds", "gauge", "files", "Maximum number of open file descriptors.", "The limit of the one above."
)

PROCESS = Group(
    "The operator",
    "At its metrics address. `_created` beside a counter or histogram is when it began, and may be dropped.",
    (
        RECONCILES,
        RECONCILE_DURATION,
        QUEUE_DEPTH,
        QUEUE_AGE,
        LEADING,
        API_WRITES,
        STATUS_WRITES,
        WATCH_RESTARTS,
        PENDING,
        ATTEMPTS,
        PUBLISHED,
        ROLLOUTS,
        PUBLISH_TO_SERVING,
        TRAINJOBS_BY_PHASE,
        MODELSERVES_BY_PHASE,
        MEMORY,
        STARTED,
        CPU,
        VIRTUAL_MEMORY,
        OPEN_FILES,
        MOST_FILES,
    ),
)
