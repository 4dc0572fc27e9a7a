"""Metrics of the probe beside a server: of its own inferences, of the node's cache of models, of a tuning's result."""

from __future__ import annotations

from trainserve.api.metrics.definition import Group, Metric

INFERENCE_DURATION = Metric(
    "trainserve_probe_inference_duration_seconds",
    "histogram",
    "seconds",
    "Answered inferences of the smallest batch, by the probe itself: from the sidecar to its server and back.",
    "It can be aggregated on every release: sum the buckets, then take the quantile. Trap: no network, and few requests"
    " (60 a minute for each pod): over less than two minutes the p99 of one pod is its slowest request. Not the"
    " clients' latency.",
)
INFERENCES = Metric(
    "trainserve_probe_inferences_total",
    "counter",
    "inferences",
    "Inferences of the probe, by result (answered, failed).",
    "The ratio is availability, by real inferences. Trap: to a neighbour in the pod; a broken Service or ingress is not"
    " seen.",
    ("result",),
)
UP = Metric(
    "trainserve_probe_up",
    "gauge",
    "0 or 1",
    "1 if the probe's last inference was answered, else 0.",
    "For alerts and for counting servers that are down. Trap: as old as the last liveness probe; a pod that is gone has"
    " no series at all, so alert on the count, or with `absent`.",
)
VERIFIED = Metric(
    "trainserve_probe_verified",
    "gauge",
    "0 or 1",
    "1 if the recorded samples matched when they were last sent, 0 if not, or not yet; NaN where none were recorded.",
    "0 on a server that is ready: its outputs are not what PyTorch gave. Trap: 0 while a server starts, too.",
)
VERIFICATIONS = Metric(
    "trainserve_probe_verifications_total",
    "counter",
    "verifications",
    "Verifications with all recorded samples, by result (matched, mismatched, failed: no answer, unrecorded: made-up"
    " inputs were answered).",
    "More than one for a pod: its server has come back that often.",
    ("result",),
)
VERIFIED_AT = Metric(
    "trainserve_probe_verification_timestamp_seconds",
    "gauge",
    "Unix seconds",
    "When the recorded samples were last compared; NaN before the first time.",
    "`time() -` it is the age. Trap: old is normal, for a server that never went away.",
)
MAX_DIFFERENCE = Metric(
    "trainserve_probe_max_abs_difference",
    "gauge",
    "the outputs' unit",
    "Largest difference between served and recorded outputs in the last comparison; +Inf where one is missing, NaN"
    " before the first.",
    "Servers of one version on different hardware beside each other show drift. Trap: not a share of the tolerance;"
    " what is allowed (`parity.rtol`, `atol`) is in the manifest.",
)

CACHE_BYTES = Metric(
    "trainserve_cache_bytes",
    "gauge",
    "bytes",
    "Bytes of whole models in the node's cache.",
    "Trap: what is being fetched is not in it, and counts against the limit.",
)
CACHE_LIMIT = Metric(
    "trainserve_cache_limit_bytes",
    "gauge",
    "bytes",
    "Bytes that the node's cache may hold, those being fetched included.",
    "The limit that *this* probe was told.",
)
CACHE_MODELS = Metric(
    "trainserve_cache_models",
    "gauge",
    "models",
    "Whole models in the node's cache.",
    "With the bytes: their mean size.",
)
CACHE_EVICTIONS = Metric(
    "trainserve_cache_evictions_total",
    "counter",
    "models",
    "Models, and abandoned fetches, removed from the node's cache to make room, since the cache is there.",
    "Steady: the node's models do not fit; they are fetched again and again. Trap: it outlives pods, so it is not 0 in"
    " a new one.",
)

TUNE_TIMESTAMP = Metric(
    "trainserve_tune_timestamp_seconds",
    "gauge",
    "Unix seconds",
    "When the tuning's result was written.",
    "Its age; a result older than the version is of another one.",
)
TUNE_OBJECTIVE = Metric(
    "trainserve_tune_objective_p99_seconds",
    "gauge",
    "seconds",
    "The p99 latency that was asked for.",
    "The line to draw into a latency panel.",
)
TUNE_HOLDS = Metric(
    "trainserve_tune_holds",
    "gauge",
    "0 or 1",
    "1 if the chosen settings held the objective, with the margin, when they were measured, else 0.",
    "0: nothing did; the result says what would be needed.",
)
TUNE_P99 = Metric(
    "trainserve_tune_p99_seconds",
    "gauge",
    "seconds",
    "p99 latency of the chosen settings as it was measured then.",
    "Trap: by the tuner's client, at the rate of the next line, on the machine that tuned.",
)
TUNE_RATE = Metric(
    "trainserve_tune_requests_per_second",
    "gauge",
    "requests/s",
    "Requests per second at which that p99 was measured, by one server.",
    "What a replica can take: replicas needed = the rate to come over it.",
)
TUNE_INSTANCES = Metric(
    "trainserve_tune_instances",
    "gauge",
    "instances",
    "Chosen instances of the model.",
    "Beside what the ModelServe has: is the choice in use?",
)
TUNE_THREADS = Metric("trainserve_tune_threads", "gauge", "threads", "Chosen threads of each instance.", "As above.")
TUNE_MAX_BATCH = Metric(
    "trainserve_tune_max_batch",
    "gauge",
    "samples",
    "Chosen largest batch.",
    "The mean batch that is reached (a query below) stays under it.",
)
TUNE_MAX_DELAY = Metric(
    "trainserve_tune_max_queue_delay_seconds",
    "gauge",
    "seconds",
    "Chosen longest time that a request waits for company.",
    "The least that the time in the queue comes to where the load is low.",
)

PROBE = Group(
    "The probe",
    "On port 9401 of a serving pod, of inferences that the probe sends itself: the recorded samples when the server"
    " becomes ready or comes back, then one at each liveness probe (every second in our pods). The target's labels"
    " (`namespace`, `modelserve`, `model`, `version`, `pod`) tell servers apart.",
    (INFERENCE_DURATION, INFERENCES, UP, VERIFIED, VERIFICATIONS, VERIFIED_AT, MAX_DIFFERENCE),
)
CACHE = Group(
    "A node's cache of models",
    "From the folder, at each scrape, where the probe was given it (`--cache`). Several pods of a node see one folder:"
    " take the `max` of a node, not the sum.",
    (CACHE_BYTES, CACHE_LIMIT, CACHE_MODELS, CACHE_EVICTIONS),
)
TUNING = Group(
    "A tuning's result",
    "From the JSON that `trainserve tune` wrote, where the probe was given it (`--tuning`); absent otherwise: of a"
    " ModelServe with `spec.slo` the choice is in `status.tuning`. What was measured *then*, not what is now.",
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
