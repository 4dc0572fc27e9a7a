"""State of the service now, and its traffic over time."""

from __future__ import annotations

from trainserve.dev.dashboards import objectives, palette, units
from trainserve.dev.dashboards.boards.modelserve.labels import IDLE, MODEL, RATE, SERVE
from trainserve.dev.dashboards.layout import Section
from trainserve.dev.dashboards.panels import Query, figure, graph


def now() -> Section:
    """Build the section with phase, version, verification, replicas and availability, in one row of figures."""
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


def traffic() -> Section:
    """Build the section with requests, errors and computed samples over time."""
    return Section(
        "Traffic",
        [
            graph(
                "Requests",
                "Answered and failed, as the servers count them; the probe's own, one a second for each pod, among"
                " them. REJECTED waited too long in the queue, CANCELED was given up by its client, BACKEND is the"
                " model.",
                # Failures are stacked at the bottom, where a line at 0 does not overlap the other line.
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
