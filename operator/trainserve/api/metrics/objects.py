"""Metrics of each TrainJob and ModelServe, which the operator exports.

Each object has at most `SERIES_LIMIT` series, which end when the object is deleted.
"""

from __future__ import annotations

from trainserve.api.metrics.definition import Group, Metric

SERIES_LIMIT = 12
"""Most series of one TrainJob or ModelServe."""
_JOB = ("namespace", "trainjob")
_SERVE = ("namespace", "modelserve")

TRAINJOB_INFO = Metric(
    "trainserve_trainjob_info",
    "gauge",
    "1",
    "1 for each TrainJob, with what it trains: `network` (the zoo's name, or script, or command) and the name `model`"
    " under which it publishes.",
    "Join by `namespace` and `trainjob`.",
    (*_JOB, "network", "model"),
)
TRAINJOB_PHASE = Metric(
    "trainserve_trainjob_phase",
    "gauge",
    "1",
    "1 for each TrainJob, with its phase now and the reason of the condition behind it.",
    "A table of what waits and why. Trap: each change of phase begins another series.",
    (*_JOB, "phase", "reason"),
)
TRAINJOB_CREATED = Metric(
    "trainserve_trainjob_created_timestamp_seconds",
    "gauge",
    "Unix seconds",
    "When the TrainJob was created.",
    "`time() -` it is the age.",
    _JOB,
)
TRAINJOB_ATTEMPTS = Metric(
    "trainserve_trainjob_attempts",
    "gauge",
    "attempts",
    "Attempts that were begun.",
    "More than 1: it was restarted.",
    _JOB,
)
TRAINJOB_ATTEMPT_END = Metric(
    "trainserve_trainjob_attempt_end_timestamp_seconds",
    "gauge",
    "Unix seconds",
    "When the newest attempt that has ended did so, with its number and reason.",
    "Its value is the time of an annotation. Trap: absent before the first attempt has ended.",
    (*_JOB, "attempt", "reason"),
)
TRAINJOB_GPUS = Metric(
    "trainserve_trainjob_gpus_requested",
    "gauge",
    "GPUs",
    "GPUs that a TrainJob asks for over all its pods, while it is neither complete, failed nor refused.",
    "Beside what is used: GPUs that stand idle. Trap: a job that waits asks, too.",
    _JOB,
)
TRAINJOB_PROGRESS = Metric(
    "trainserve_trainjob_progress_ratio",
    "gauge",
    "ratio 0 to 1",
    "Share of the whole run, as rank 0 said last.",
    "Outlives the pod, until the TrainJob is deleted.",
    _JOB,
)
TRAINJOB_PROGRESS_TIME = Metric(
    "trainserve_trainjob_progress_timestamp_seconds",
    "gauge",
    "Unix seconds",
    "When rank 0 last got on, as it said itself.",
    "`time() -` it while the job runs: how long nothing has moved.",
    _JOB,
)
TRAINJOB_ACCURACY = Metric(
    "trainserve_trainjob_accuracy",
    "gauge",
    "ratio 0 to 1",
    "Accuracy: of the result once there is one, else of the running epoch.",
    "Absent for a regression.",
    _JOB,
)
TRAINJOB_VERSION = Metric(
    "trainserve_trainjob_published_version",
    "gauge",
    "version",
    "Number of the version that the TrainJob published.",
    "The newest of a model is the largest. Absent until something is published.",
    (*_JOB, "model"),
)
TRAINJOB_ENERGY = Metric(
    "trainserve_trainjob_energy_joules",
    "gauge",
    "joules",
    "Energy of the finished training, from counters alone.",
    "Absent where no counter exists. Divide by 3.6e6 for kWh.",
    _JOB,
    (),
    "energy counter",
)

MODELSERVE_INFO = Metric(
    "trainserve_modelserve_info",
    "gauge",
    "1",
    "1 for each ModelServe, with what takes traffic: model, version, digest (12 digits), instances and largest batch.",
    "Join by `namespace` and `modelserve`.",
    (*_SERVE, "model", "version", "digest", "instances", "max_batch"),
)
MODELSERVE_PHASE = Metric(
    "trainserve_modelserve_phase",
    "gauge",
    "1",
    "1 for each ModelServe, with its phase now and the reason of the condition behind it.",
    "As of a TrainJob.",
    (*_SERVE, "phase", "reason"),
)
MODELSERVE_DESIRED = Metric(
    "trainserve_modelserve_replicas_desired",
    "gauge",
    "replicas",
    "Replicas that are asked for.",
    "See the next.",
    _SERVE,
)
MODELSERVE_READY = Metric(
    "trainserve_modelserve_replicas_ready",
    "gauge",
    "replicas",
    "Replicas that are ready, of the version that takes traffic.",
    "0 with more than 0 desired: the service is down.",
    _SERVE,
)
MODELSERVE_VERIFIED = Metric(
    "trainserve_modelserve_verified",
    "gauge",
    "0 or 1",
    "1 if the recorded samples matched in the running servers, 0 if they did not.",
    "Absent while it is not known, and where nothing was recorded.",
    _SERVE,
)
MODELSERVE_GPUS = Metric(
    "trainserve_modelserve_gpus_requested",
    "gauge",
    "GPUs",
    "GPUs that a ModelServe asks for over all its replicas.",
    "Trap: during a rollout the old version's pods hold theirs as well.",
    _SERVE,
)
MODELSERVE_OBJECTIVE = Metric(
    "trainserve_modelserve_objective_p99_seconds",
    "gauge",
    "seconds",
    "The p99 latency that `spec.slo` asks for.",
    "The line to draw into a latency panel. Absent without an objective.",
    _SERVE,
)
MODELSERVE_OBJECTIVE_BUCKET = Metric(
    "trainserve_modelserve_objective_bucket",
    "gauge",
    "1",
    "1 for each way in which a histogram of the servers (`family`) writes the bucket that ends at the objective as the"
    " label `le`.",
    "Joins a latency histogram's bucket by `namespace`, `modelserve` and `le`. Prometheus 3 writes 20.0 where 2 writes"
    " 20, so both stand here. Trap: Triton's is in milliseconds and a hair less (19.9999), since it counts whole ones.",
    (*_SERVE, "family", "le"),
)
MODELSERVE_SINCE = Metric(
    "trainserve_modelserve_traffic_since_timestamp_seconds",
    "gauge",
    "Unix seconds",
    "Since when the version with that digest (12 digits) takes traffic.",
    "Its value is the time of a rollout's annotation.",
    (*_SERVE, "version", "digest"),
)

TRAINJOBS = Group(
    "The operator, of each TrainJob",
    "By the replica that leads, from the TrainJob's spec and status. They go when the TrainJob is deleted.",
    (
        TRAINJOB_INFO,
        TRAINJOB_PHASE,
        TRAINJOB_CREATED,
        TRAINJOB_ATTEMPTS,
        TRAINJOB_ATTEMPT_END,
        TRAINJOB_GPUS,
        TRAINJOB_PROGRESS,
        TRAINJOB_PROGRESS_TIME,
        TRAINJOB_ACCURACY,
        TRAINJOB_VERSION,
        TRAINJOB_ENERGY,
    ),
)
MODELSERVES = Group(
    "The operator, of each ModelServe",
    "By the replica that leads, from the ModelServe's spec and status. They go when the ModelServe is deleted.",
    (
        MODELSERVE_INFO,
        MODELSERVE_PHASE,
        MODELSERVE_DESIRED,
        MODELSERVE_READY,
        MODELSERVE_VERIFIED,
        MODELSERVE_GPUS,
        MODELSERVE_OBJECTIVE,
        MODELSERVE_OBJECTIVE_BUCKET,
        MODELSERVE_SINCE,
    ),
)
