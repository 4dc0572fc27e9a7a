"""Metrics of a training pod."""

from __future__ import annotations

from trainserve.api.metrics.definition import Group, Metric

LOSS = Metric(
    "trainserve_train_loss",
    "gauge",
    "",
    "Mean loss of the running epoch, then of the test split: cross entropy, or mean squared error for a regression.",
    "It is NaN if a script's loss is NaN; our own training loop ends the run then. Trap: it jumps when the epoch"
    " changes, and at the end, when the split changes.",
)
ACCURACY = Metric(
    "trainserve_train_accuracy",
    "gauge",
    "ratio 0 to 1",
    "Share of correct answers in the running epoch, then on the test split.",
    "It is absent for a regression. Trap: it jumps like the loss.",
)
SAMPLES_PER_SECOND = Metric(
    "trainserve_train_samples_per_second",
    "gauge",
    "samples/s",
    "Training samples per second over the run so far.",
    "Trap: it is a mean since the start, which reacts slowly to a stall: use the rate of"
    " `trainserve_train_samples_total`.",
)
SAMPLES = Metric(
    "trainserve_train_samples_total",
    "counter",
    "samples",
    "Training samples processed.",
    "Its rate is the current speed. Trap: it starts at 0 again with each attempt that has no checkpoint to resume"
    " from.",
)
STEP_DURATION = Metric(
    "trainserve_train_step_duration_seconds",
    "summary",
    "without quantiles, seconds",
    "Optimizer steps (`_count`) and the time they took on the host (`_sum`).",
    "The ratio of the rates is the mean duration of a step. Trap: on a GPU, kernels run on after the step has returned;"
    " only the mean over many steps is right.",
)
EPOCH = Metric(
    "trainserve_train_epoch",
    "gauge",
    "epochs",
    "The running epoch, from 1.",
    "Plot it to see where loss and accuracy start again.",
)
EPOCHS = Metric(
    "trainserve_train_epochs",
    "gauge",
    "epochs",
    "Epochs of the whole run.",
    "Compare it with `trainserve_train_epoch`.",
)
PROGRESS = Metric(
    "trainserve_train_progress_ratio",
    "gauge",
    "ratio 0 to 1",
    "Completed share of the whole run.",
    "Trap: a constant value is not always an error, because evaluation takes time.",
)
ETA = Metric(
    "trainserve_train_eta_seconds",
    "gauge",
    "seconds",
    "Seconds until the last training step, estimated from the speed so far.",
    "Trap: evaluation, export and publishing follow after that.",
)
CHECKPOINT = Metric(
    "trainserve_train_checkpoint_timestamp_seconds",
    "gauge",
    "Unix seconds",
    "When the newest checkpoint of this attempt was written, or the one that it resumed from.",
    "`time()` minus this is the work that a crash would lose. It is absent without a checkpoint.",
)
GPU_UTILIZATION = Metric(
    "trainserve_train_gpu_utilization_ratio",
    "gauge",
    "ratio 0 to 1",
    "Share of the driver's last sampling period in which a kernel ran.",
    "A low value means that the data arrives too slowly. Trap: a high value does not mean that the GPU is fully used.",
    ("gpu",),
    (),
    "GPU",
)
GPU_MEMORY = Metric(
    "trainserve_train_gpu_memory_used_bytes",
    "gauge",
    "bytes",
    "GPU memory in use, by all processes.",
    "Trap: torch keeps memory that it has allocated.",
    ("gpu",),
    (),
    "GPU",
)
GPU_ENERGY = Metric(
    "trainserve_train_gpu_energy_joules_total",
    "counter",
    "joules",
    "Energy of the whole board since the driver was loaded.",
    "Trap: the value itself means nothing; take the increase. It includes the energy of other users of the board.",
    ("gpu",),
    (),
    "GPU",
)
RUN = Group(
    "A training pod",
    "Exported on port 9400 of rank 0, for the whole run. The series end with the pod; the results remain in the"
    " TrainJob's status.",
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
