"""TrainJob: progress, speed, devices and attempts of one training."""

from __future__ import annotations

from trainserve.dev.dashboards import links, marks, palette, units
from trainserve.dev.dashboards.layout import Board, Section
from trainserve.dev.dashboards.panels import NO_GPU, PHASE, Column, Query, figure, graph, listing
from trainserve.dev.dashboards.variables import chosen

NAMESPACE = 'namespace="$namespace"'
JOB = f'{NAMESPACE},trainjob="$trainjob"'
PODS = f'{NAMESPACE},pod=~"$trainjob-[0-9]+-[0-9]+"'
"""Label matchers of all ranks of all attempts."""
ATTEMPT = "attempt {{attempt}}"
ENDED = f"trainserve_trainjob_attempt_end_timestamp_seconds{{{JOB}}}"
GONE = "its pod is gone"


def board() -> Board:
    """Build the board of one TrainJob."""
    return Board(
        links.TRAINJOB,
        "One TrainJob: how its training goes, how fast, on what, and what its attempts came to.",
        [_now(), _learning(), _speed(), _gpu(), _durability(), _served()],
        [
            chosen(
                "namespace",
                "Namespace",
                "Namespaces with a TrainJob.",
                "label_values(trainserve_trainjob_info, namespace)",
            ),
            chosen(
                "trainjob",
                "TrainJob",
                "TrainJobs of the namespace.",
                f"label_values(trainserve_trainjob_info{{{NAMESPACE}}}, trainjob)",
            ),
        ],
        [
            marks.mark(
                "Attempt ended",
                ENDED,
                "attempt {{attempt}}: {{reason}}",
                colour=palette.WARNING,
                tags="reason",
            )
        ],
    )


def _now() -> Section:
    return Section(
        "Now",
        [
            figure(
                "Phase",
                "The TrainJob's phase, and the reason of the condition behind it.",
                Query(f"trainserve_trainjob_phase{{{JOB}}}", "{{phase}}: {{reason}}"),
                unit=units.WHOLE,
                names=True,
                width=6,
            ),
            figure(
                "Progress",
                "Share of the whole run that is done; stays when the pod is gone.",
                Query(f"trainserve_trainjob_progress_ratio{{{JOB}}}"),
                unit=units.RATIO,
                decimals=0,
                base=palette.ACCENT,
                thresholds=[(1, palette.SUCCESS)],
            ),
            figure(
                "Time left",
                "Until the last training step, as the speed so far has it. Evaluation, export and publishing follow.",
                Query(f"max(trainserve_train_eta_seconds{{{JOB}}})"),
                unit=units.SECONDS,
                decimals=0,
                width=5,
                empty=GONE,
            ),
            figure(
                "Accuracy now",
                "Of the result once there is one, else of the running epoch. Absent for a regression.",
                Query(f"trainserve_trainjob_accuracy{{{JOB}}}"),
                unit=units.RATIO,
                decimals=2,
                width=5,
                empty="none yet",
            ),
            figure(
                "Attempts",
                "Attempts that were begun; more than 1: it was restarted. The marks on the graphs say why.",
                Query(f"trainserve_trainjob_attempts{{{JOB}}}"),
                unit=units.WHOLE,
                thresholds=[(2, palette.WARNING)],
            ),
        ],
    )


def _learning() -> Section:
    return Section(
        "Learning",
        [
            graph(
                "Loss",
                "Mean loss of the running epoch, at the end of the test split. It jumps where an epoch begins.",
                Query(f"max by (attempt) (trainserve_train_loss{{{JOB}}})", ATTEMPT, palette.ACCENT),
                unit=units.COUNT,
                low=None,
                empty=GONE,
            ),
            graph(
                "Accuracy",
                "Share of right answers in the running epoch, at the end on the test split. Absent for a regression.",
                Query(f"max by (attempt) (trainserve_train_accuracy{{{JOB}}})", ATTEMPT, palette.ACCENT),
                unit=units.RATIO,
                low=None,
                high=1,
                empty="no accuracy",
            ),
            graph(
                "Epoch",
                "The running epoch, and how many there will be. Loss and accuracy start again with each epoch.",
                Query(f"max by (attempt) (trainserve_train_epoch{{{JOB}}})", ATTEMPT, palette.ACCENT),
                Query(f"max(trainserve_train_epochs{{{JOB}}})", "of", palette.NEUTRAL, dashed=True),
                unit=units.WHOLE,
                empty=GONE,
            ),
        ],
    )


def _speed() -> Section:
    steps = f"trainserve_train_step_duration_seconds_{{part}}{{{{{JOB}}}}}[$__rate_interval]"
    took, made = (f"sum by (attempt) (rate({steps.format(part=part)}))" for part in ("sum", "count"))
    return Section(
        "Speed",
        [
            graph(
                "Images per second",
                "Training samples per second, now.",
                Query(
                    f"sum by (attempt) (rate(trainserve_train_samples_total{{{JOB}}}[$__rate_interval]))",
                    ATTEMPT,
                    palette.ACCENT,
                ),
                unit=units.IMAGES,
                empty=GONE,
            ),
            graph(
                "Step time",
                "Mean time of an optimizer step on the host. On a GPU kernels run on after a step has returned: only"
                " the mean over many is right.",
                Query(f"{took} / {made}", ATTEMPT, palette.ACCENT),
                unit=units.SECONDS,
                empty=GONE,
            ),
            graph(
                "Time left over time",
                "A line that falls by a second each second is a run at even speed.",
                Query(f"max by (attempt) (trainserve_train_eta_seconds{{{JOB}}})", ATTEMPT, palette.ACCENT),
                unit=units.SECONDS,
                empty=GONE,
            ),
        ],
    )


def _gpu() -> Section:
    return Section(
        "GPU",
        [
            graph(
                "GPU utilisation",
                "Share of time in which any kernel ran. Low: the data is too slow. High is not full.",
                Query(f"gpu:utilization:ratio{{{PODS}}}", "{{pod}} GPU {{gpu}}"),
                unit=units.RATIO,
                high=1,
                width=6,
                empty=NO_GPU,
            ),
            graph(
                "GPU memory",
                "In use by all processes. PyTorch keeps what it once took.",
                Query(f"max by (pod, gpu) (trainserve_train_gpu_memory_used_bytes{{{JOB}}})", "{{pod}} GPU {{gpu}}"),
                unit=units.BYTES,
                width=6,
                empty=NO_GPU,
            ),
            graph(
                "Power",
                "Of the whole boards, from their energy counters. Absent under MIG.",
                Query(f"sum(trainjob:energy_joules:rate5m{{{JOB}}})", "all GPUs", palette.ACCENT),
                unit=units.WATTS,
                width=6,
                empty=NO_GPU,
            ),
            graph(
                "Energy per image",
                "Energy over training samples: what tells two configurations apart that are equally fast.",
                Query(f"max(trainjob:energy_joules_per_image:ratio5m{{{JOB}}})", "joules per image", palette.ACCENT),
                unit=units.JOULES,
                width=6,
                empty=NO_GPU,
            ),
        ],
    )


def _durability() -> Section:
    checkpoint = f"max by (attempt) (trainserve_train_checkpoint_timestamp_seconds{{{JOB}}})"
    return Section(
        "Durability",
        [
            graph(
                "Age of the newest checkpoint",
                "The work that a crash would cost now.",
                Query(f"time() - {checkpoint}", ATTEMPT, palette.ACCENT),
                unit=units.SECONDS,
                empty="no checkpoint",
            ),
            graph(
                "Time since it last got on",
                "How long the run has said nothing new. Rises by itself once it is over; while it runs, minutes are a"
                " stall.",
                Query(
                    f"time() - max(trainserve_trainjob_progress_timestamp_seconds{{{JOB}}})", "TrainJob", palette.ACCENT
                ),
                unit=units.SECONDS,
                empty="no progress yet",
            ),
            listing(
                "Attempts that ended",
                "Attempts that ended in the time that is shown, and why.",
                f"1000 * max by (attempt, reason) (last_over_time({ENDED}[$__range]))",
                columns=[
                    Column("Attempt", "attempt", width=80),
                    Column("Reason", "reason"),
                    Column("Ended", value=0, unit=units.AGO),
                ],
                width=8,
                height=8,
                sort="Attempt",
                empty="none has ended",
            ),
        ],
    )


def _served() -> Section:
    of_model = f"trainserve_modelserve_info{{{NAMESPACE}}} and on (namespace, model) trainserve_trainjob_info{{{JOB}}}"
    phases = f"trainserve_modelserve_phase{{{NAMESPACE}}}"
    joined = f"{phases} * on (namespace, modelserve) group_left (model, version) ({of_model})"
    return Section(
        "Where its model is served",
        [
            listing(
                "ModelServes of this model",
                "ModelServes of the namespace that serve the model under whose name this TrainJob publishes.",
                f"max by (namespace, modelserve, phase, reason, model, version) ({joined})",
                columns=[
                    Column("Namespace", "namespace"),
                    Column("ModelServe", "modelserve", properties=[links.to_modelserve()]),
                    Column("Phase", "phase", properties=PHASE),
                    Column("Reason", "reason"),
                    Column("Model", "model"),
                    Column("Version", "version"),
                ],
                height=6,
                sort="ModelServe",
                empty="it is not served",
            )
        ],
    )
