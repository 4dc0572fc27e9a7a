"""Metrics of a training pod."""

from __future__ import annotations

from trainserve.api.metrics.definition import Group, Metric

LOSS = Metric(
    "trainserve_train_loss",
    "gauge",
    "",
    "Mean loss of the running epoch, then of the test split: cross entropy, or the mean squared error of a regression.",
    "NaN once a script's is no longer a number; our own loop ends the run there. Trap: it jumps when the epoch changes,"
    " and at the end, when the split does.",
)
ACCURACY = Metric(
    "trainserve_train_accuracy",
    "gauge",
    "ratio 0 to 1",
    "Share of right answers in the running epoch, then on the test split.",
    "As above. Absent for a regression.",
)
SAMPLES_PER_SECOND = Metric(
    "trainserve_train_samples_per_second",
    "gauge",
    "samples/s",
    "Training samples per second over the run so far.",
    "Trap: a mean since the start, slow to show a stall: use the rate of the next one.",
)
SAMPLES = Metric(
    "trainserve_train_samples_total",
    "counter",
    "samples",
    "Training samples seen.",
    "Its rate is the speed of now. Trap: begins at 0 again with each attempt that has no checkpoint to go on from.",
)
STEP_DURATION = Metric(
    "trainserve_train_step_duration_seconds",
    "summary",
    "without quantiles, seconds",
    "Optimizer steps (`_count`) and the time they took on the host (`_sum`).",
    "The ratio of rates is the mean step. Trap: on a GPU kernels run on after the step has returned; only the mean over"
    " many is right.",
)
EPOCH = Metric(
    "trainserve_train_epoch",
    "gauge",
    "epochs",
    "The running epoch, from 1.",
    "To see in a plot where loss and accuracy begin anew.",
)
EPOCHS = Metric("trainserve_train_epochs", "gauge", "epochs", "Epochs that the run will take.", "See above.")
PROGRESS = Metric(
    "trainserve_train_progress_ratio",
    "gauge",
    "ratio 0 to 1",
    "Share of the whole run.",
    "Trap: standing still is not always an error: evaluation takes its time.",
)
ETA = Metric(
    "trainserve_train_eta_seconds",
    "gauge",
    "seconds",
    "Seconds until the last training step, as the speed so far has it.",
    "Trap: evaluation, export and publishing come after it.",
)
CHECKPOINT = Metric(
    "trainserve_train_checkpoint_timestamp_seconds",
    "gauge",
    "Unix seconds",
    "When the newest checkpoint of this attempt was written, or the one that it resumed from.",
    "`time() -` it is the work that a crash would cost. Absent without a checkpoint.",
)
GPU_UTILIZATION = Metric(
    "trainserve_train_gpu_utilization_ratio",
    "gauge",
    "ratio 0 to 1",
    "Share of the driver's last sampling period in which a kernel ran.",
    "Low: the data is too slow. Trap: high is not full.",
    ("gpu",),
    (),
    "GPU",
)
GPU_MEMORY = Metric(
    "trainserve_train_gpu_memory_used_bytes",
    "gauge",
    "bytes",
    "GPU memory in use, by all processes.",
    "Trap: torch keeps what it once took.",
    ("gpu",),
    (),
    "GPU",
)
GPU_ENERGY = Metric(
    "trainserve_train_gpu_energy_joules_total",
    "counter",
    "joules",
    "Energy of the whole board since the driver was loaded.",
    "Trap: its value means nothing; take the increase. The board's, whoever else uses it.",
    ("gpu",),
    (),
    "GPU",
)
RUN = Group(
    "A training pod",
    "On port 9400 of rank 0, for the whole run. The series end with the pod: what lasts is in the TrainJob's status.",
    (
        LOSS,
        ACCURACY,
        SAMPLES_PER_SECOND,
        SAMPLES,
        STEP_DURATION,
        EPOCH,
        EPOCHS,
        PROGRESS,
        ETA,
        CHECKPOINT,
        GPU_UTILIZATION,
        GPU_MEMORY,
        GPU_ENERGY,
    ),
)
