"""Metrics of the probe beside a server: its own inferences, the node's cache of models, and the result of a tuning."""

from __future__ import annotations

from trainserve.api.metrics.definition import Group, Metric

INFERENCE_DURATION = Metric(
    "trainserve_probe_inference_duration_seconds",
    "histogram",
    "seconds",
    "Duration of the probe's answered inferences with the smallest batch, from the sidecar to its server and back.",
    "Can be aggregated on every release: sum the buckets, then take the quantile. Trap: it includes no network, and few"
    " requests (60 a minute for each pod): over less than two minutes the p99 of one pod is its slowest request. It is"
    " not the clients' latency.",
)
INFERENCES = Metric(
    "trainserve_probe_inferences_total",
    "counter",
    "inferences",
    "Inferences of the probe, by result (answered, failed).",
    "The ratio is the availability, measured by real inferences. Trap: the probe is in the same pod, so it does not see"
    " a broken Service or ingress.",
    ("result",),
)
UP = Metric(
    "trainserve_probe_up",
    "gauge",
    "0 or 1",
    "1 if the probe's last inference was answered, else 0.",
    "Use it for alerts and to count servers that are down. Trap: it is as old as the last liveness probe; a pod that is"
    " gone has no series at all, so alert on the count, or with `absent`.",
)
VERIFIED = Metric(
    "trainserve_probe_verified",
    "gauge",
    "0 or 1",
    "1 if the recorded samples matched when they were last sent, 0 if not, or not yet; NaN without recorded samples.",
    "If it is 0 on a ready server, the outputs differ from PyTorch's. Trap: it is 0 while a server starts, too.",
)
VERIFICATIONS = Metric(
    "trainserve_probe_verifications_total",
    "counter",
    "verifications",
    "Verifications with all recorded samples, by result (matched, mismatched, failed: no answer, unrecorded: synthetic"
    " inputs were answered).",
    "Each one after a pod's first is a restart of its server.",
    ("result",),
)
VERIFIED_AT = Metric(
    "trainserve_probe_verification_timestamp_seconds",
    "gauge",
    "Unix seconds",
    "When the recorded samples were last compared; NaN before the first time.",
    "`time()` minus this is the age. Trap: a high age is normal for a server that never restarted.",
)
MAX_DIFFERENCE = Metric(
    "trainserve_probe_max_abs_difference",
    "gauge",
    "the outputs' unit",
    "Largest difference between served and recorded outputs in the last comparison; +Inf if an output is missing, NaN"
    " before the first.",
    "Compare servers of one version on different hardware to see drift. Trap: it is not relative to the tolerance,"
    " which is in the manifest (`parity.rtol`, `atol`).",
)

CACHE_BYTES = Metric(
    "trainserve_cache_bytes",
    "gauge",
    "bytes",
    "Bytes of complete models in the node's cache.",
    "Trap: it does not include downloads in progress, which count against the limit.",
)
CACHE_LIMIT = Metric(
    "trainserve_cache_limit_bytes",
    "gauge",
    "bytes",
    "Limit of the node's cache in bytes, including downloads in progress.",
    "Each probe reports the limit that it was configured with.",
)
CACHE_MODELS = Metric(
    "trainserve_cache_models",
    "gauge",
    "models",
    "Complete models in the node's cache.",
    "The bytes divided by this are the mean size of a model.",
)
CACHE_EVICTIONS = Metric(
    "trainserve_cache_evictions_total",
    "counter",
    "models",
    "Models, and abandoned downloads, removed from the node's cache to make room, since the cache was created.",
    "A steady rate means that the node's models do not fit and are downloaded repeatedly. Trap: it outlives pods, so it"
    " is not 0 in a new one.",
)

TUNE_TIMESTAMP = Metric(
    "trainserve_tune_timestamp_seconds",
    "gauge",
    "Unix seconds",
    "When the tuning's result was written.",
    "`time()` minus this is the age of the result. A result that is older than the version belongs to another version.",
)
TUNE_OBJECTIVE = Metric(
    "trainserve_tune_objective_p99_seconds",
    "gauge",
    "seconds",
    "The p99 latency that was set as the objective.",
    "Draw it as a line in a latency panel.",
)
TUNE_HOLDS = Metric(
    "trainserve_tune_holds",
    "gauge",
    "0 or 1",
    "1 if the chosen settings met the objective, with the margin, when they were measured, else 0.",
    "If it is 0, no settings met the objective; the result says what would be needed.",
)
TUNE_P99 = Metric(
    "trainserve_tune_p99_seconds",
    "gauge",
    "seconds",
    "p99 latency of the chosen settings, as measured during tuning.",
    "Trap: the tuner's client measured it on the machine of the tuning, at the rate"
    " `trainserve_tune_requests_per_second`.",
)
TUNE_RATE = Metric(
    "trainserve_tune_requests_per_second",
    "gauge",
    "requests/s",
    "Requests per second at which that p99 was measured, by one server.",
    "It is the capacity of one replica: divide the expected rate by it to get the number of replicas.",
)
TUNE_INSTANCES = Metric(
    "trainserve_tune_instances",
    "gauge",
    "instances",
    "Chosen instances of the model.",
    "Compare it with the ModelServe to see whether the choice is in use.",
)
TUNE_THREADS = Metric(
    "trainserve_tune_threads",
    "gauge",
    "threads",
    "Chosen threads of each instance.",
    "Compare it with the ModelServe to see whether the choice is in use.",
)
TUNE_MAX_BATCH = Metric(
    "trainserve_tune_max_batch",
    "gauge",
    "samples",
    "Chosen largest batch.",
    "The mean batch size (see the queries below) stays below it.",
)
TUNE_MAX_DELAY = Metric(
    "trainserve_tune_max_queue_delay_seconds",
    "gauge",
    "seconds",
    "Chosen maximum time that a request waits for others to join its batch.",
    "At low load the time in the queue is at least this long.",
)

PROBE = Group(
    "The probe",
    "Exported on port 9401 of a serving pod. The probe sends inferences itself: the recorded samples when the server"
    " becomes ready or restarts, then one at each liveness probe (every second in our pods). The target's labels"
    " (`namespace`, `modelserve`, `model`, `version`, `pod`) distinguish servers.",
    (INFERENCE_DURATION, INFERENCES, UP, VERIFIED, VERIFICATIONS, VERIFIED_AT, MAX_DIFFERENCE),
)
CACHE = Group(
    "A node's cache of models",
    "Read from the folder at each scrape, if the probe was given one (`--cache`). Several pods of a node share one"
    " folder: take the `max` of a node, not the sum.",
    (CACHE_BYTES, CACHE_LIMIT, CACHE_MODELS, CACHE_EVICTIONS),
)
TUNING = Group(
    "A tuning's result",
    "Read from the JSON that `trainserve tune` wrote, if the probe was given it (`--tuning`); absent otherwise. For a"
    " ModelServe with `spec.slo` the choice is in `status.tuning`. The values are those of the tuning, not current"
    " ones.",
    (
        TUNE_TIMESTAMP,
        TUNE_OBJECTIVE,
        TUNE_HOLDS,
        TUNE_P99,
        TUNE_RATE,
        TUNE_INSTANCES,
        TUNE_THREADS,
        TUNE_MAX_BATCH,
        TUNE_MAX_DELAY,
    ),
)
