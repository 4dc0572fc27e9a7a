"""Fleet: everything at a glance, with links to each object's own board."""

from __future__ import annotations

from grafana_foundation_sdk.builders import stat
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue

from trainserve.dev.dashboards import links, objectives, palette, units
from trainserve.dev.dashboards.layout import Board, Section
from trainserve.dev.dashboards.panels import BAR, NO_GPU, PHASE, Column, Query, figure, graph, listing
from trainserve.dev.dashboards.variables import chosen

SCOPE = 'namespace=~"$namespace"'
SERVE = "{{namespace}}/{{modelserve}}"
NAMESPACES = 'label_values({__name__=~"trainserve_(trainjob|modelserve)_info"}, namespace)'


def board() -> Board:
    """Build the board of all objects: running and waiting jobs, GPUs, services' objectives, energy, versions."""
    return Board(
        links.FLEET,
        "What runs, what waits and why; GPUs asked for and used; services against their objectives; energy; versions.",
        [_now(), _objects(), _gpus(), _health(), _energy(), _versions()],
        [chosen("namespace", "Namespace", "Namespaces with a TrainJob or a ModelServe.", NAMESPACES, several=True)],
        since="now-24h",
    )


def _now() -> Section:
    fires = f'ALERTS{{alertname=~"TrainServe.+",alertstate="firing",{SCOPE[:-1]}|"}}'
    return Section(
        "Now",
        [
            _count("TrainJobs running", "TrainJobs of which every pod runs.", "trainjobs", "Running", palette.ACCENT),
            _count(
                "TrainJobs waiting",
                "TrainJobs that wait for the operator, pods, GPUs or another attempt. The table below says why.",
                "trainjobs",
                "New|Pending|Unschedulable|Restarting",
                palette.WAITING,
            ),
            _count(
                "TrainJobs failed",
                "TrainJobs that failed or were refused, and that have not been deleted yet.",
                "trainjobs",
                "Failed|Refused",
                palette.FAILURE,
            ),
            _count("ModelServes ready", "ModelServes that serve.", "modelserves", "Ready|Updating", palette.SUCCESS),
            _count(
                "Not ready",
                "ModelServes that are new, wait for a model, start, serve with less than was asked for, or failed.",
                "modelserves",
                "New|Waiting|Starting|Degraded|Refused|Failed",
                palette.WARNING,
            ),
            figure(
                "Alerts firing",
                "Alerts of TrainServe that fire now. Each has a runbook, which its annotation names.",
                Query(f"sum({fires}) or vector(0)"),
                unit=units.WHOLE,
                base=palette.SUCCESS,
                thresholds=[(1, palette.FAILURE)],
            ),
        ],
    )


def _count(title: str, description: str, kind: str, phases: str, colour: str) -> stat.Panel:
    # max, because the operator may be scraped twice.
    expr = f'sum(max by (namespace, phase) (trainserve_{kind}{{{SCOPE},phase=~"{phases}"}})) or vector(0)'
    return figure(title, description, Query(expr), unit=units.WHOLE, thresholds=[(1, colour)])


def _objects() -> Section:
    job, serve = "max by (namespace, trainjob)", "max by (namespace, modelserve)"
    return Section(
        "What runs, what waits, and why",
        [
            listing(
                "TrainJobs",
                "Every TrainJob with its phase and the reason behind it. Its name leads to its own board.",
                f"max by (namespace, trainjob, phase, reason) (trainserve_trainjob_phase{{{SCOPE}}})",
                f"max by (namespace, trainjob, network, model) (trainserve_trainjob_info{{{SCOPE}}})",
                f"{job} (trainserve_trainjob_gpus_requested{{{SCOPE}}})",
                f"{job} (trainserve_trainjob_progress_ratio{{{SCOPE}}})",
                f"{job} (trainserve_trainjob_accuracy{{{SCOPE}}})",
                f"{job} (trainjob:images:rate5m{{{SCOPE}}})",
                f"{job} (trainserve_train_eta_seconds{{{SCOPE}}})",
                f"time() - {job} (trainserve_trainjob_created_timestamp_seconds{{{SCOPE}}})",
                columns=[
                    Column("Namespace", "namespace", width=115),
                    Column("TrainJob", "trainjob", properties=[links.to_trainjob()]),
                    Column("Phase", "phase", width=115, properties=PHASE),
                    Column("Reason", "reason", width=115),
                    Column("Network", "network", width=110),
                    Column("Model", "model", width=110),
                    Column("GPUs", value=2, unit=units.WHOLE, width=60),
                    Column("Progress", value=3, unit=units.RATIO, decimals=0, width=120, properties=[BAR, *_whole()]),
                    Column("Accuracy", value=4, unit=units.RATIO, decimals=1, width=90),
                    Column("Images/s", value=5, unit=units.COUNT, decimals=0, width=85),
                    Column("Time left", value=6, unit=units.SECONDS, decimals=0, width=85),
                    Column("Age", value=7, unit=units.SECONDS, decimals=0, width=85),
                ],
                sort="Age",
            ),
            listing(
                "ModelServes",
                "Every ModelServe with its phase and the reason behind it. Its name leads to its own board.",
                f"max by (namespace, modelserve, phase, reason) (trainserve_modelserve_phase{{{SCOPE}}})",
                f"max by (namespace, modelserve, model, version) (trainserve_modelserve_info{{{SCOPE}}})",
                f"{serve} (trainserve_modelserve_replicas_ready{{{SCOPE}}})",
                f"{serve} (trainserve_modelserve_replicas_desired{{{SCOPE}}})",
                f"sum by (namespace, modelserve) (modelserve:requests:rate5m{{{SCOPE}}})",
                f"{serve} (modelserve:unavailability:ratio5m{{{SCOPE}}})",
                f"{serve} (modelserve:latency_seconds:p99_5m{{{SCOPE}}})",
                f"{serve} (trainserve_modelserve_objective_p99_seconds{{{SCOPE}}})",
                columns=[
                    Column("Namespace", "namespace", width=115),
                    Column("ModelServe", "modelserve", properties=[links.to_modelserve()]),
                    Column("Phase", "phase", width=115, properties=PHASE),
                    Column("Reason", "reason", width=115),
                    Column("Model", "model", width=150),
                    Column("Version", "version", width=95),
                    Column("Ready", value=2, unit=units.WHOLE, width=65),
                    Column("Asked", value=3, unit=units.WHOLE, width=65),
                    Column("Requests/s", value=4, unit=units.COUNT, decimals=1, width=115),
                    Column("Errors", value=5, unit=units.RATIO, decimals=2, width=80),
                    Column("p99", value=6, unit=units.SECONDS, width=85),
                    Column("Objective", value=7, unit=units.SECONDS, width=85),
                ],
                sort="Requests/s",
                descending=True,
                height=8,
            ),
        ],
    )


def _whole() -> list[DynamicConfigValue]:
    return [DynamicConfigValue("min", 0), DynamicConfigValue("max", 1), palette.override(palette.ACCENT)]


def _gpus() -> Section:
    return Section(
        "GPUs",
        [
            graph(
                "GPUs asked for, used and idle",
                "Asked for by TrainJobs that are not over and by ModelServes; used: with a kernel running in the last"
                " sampling period; idle: held by a pod and not used. Idle GPUs are money; asked for and neither used"
                " nor idle are waited for.",
                Query(f"sum(namespace:gpus_asked:sum{{{SCOPE}}})", "asked for", palette.WAITING, dashed=True),
                Query(f"sum(namespace:gpus_used:sum{{{SCOPE}}})", "used", palette.SUCCESS),
                Query(f"sum(namespace:gpus_idle:sum{{{SCOPE}}})", "idle", palette.WARNING),
                unit=units.WHOLE,
                empty=NO_GPU,
            ),
            graph(
                "GPU utilisation by namespace",
                "Mean over the GPUs of a namespace's pods: the share of time in which any kernel ran. It tells idle"
                " from busy, not how full a GPU is.",
                Query(f"avg by (namespace) (gpu:utilization:ratio{{{SCOPE}}})", "{{namespace}}"),
                unit=units.RATIO,
                high=1,
                empty=NO_GPU,
            ),
            graph(
                "Idle GPUs by namespace",
                "The ten namespaces whose pods hold the most GPUs that they do not use.",
                Query(f"topk(10, namespace:gpus_idle:sum{{{SCOPE}}})", "{{namespace}}"),
                unit=units.WHOLE,
                empty=NO_GPU,
            ),
        ],
    )


def _health() -> Section:
    burn = [(objectives.SLOW_BURN, palette.WARNING), (objectives.FAST_BURN, palette.FAILURE)]
    p99 = f"max by (namespace, modelserve) (modelserve:latency_seconds:p99_5m{{{SCOPE}}})"
    objective = f"max by (namespace, modelserve) (trainserve_modelserve_objective_p99_seconds{{{SCOPE}}})"
    return Section(
        "Services against their objectives",
        [
            graph(
                "Error budget burn",
                f"How many times faster than allowed a service fails, over an hour: 1 uses up the budget"
                f" ({objectives.ERROR_BUDGET:.1%}) exactly. The worst of failed requests, the probe's failed"
                " inferences and time without a ready replica. The lines are where alerts begin. The ten worst.",
                Query(f"topk(10, modelserve:availability_burn:ratio1h{{{SCOPE}}})", SERVE),
                unit=units.TIMES,
                thresholds=burn,
                empty="no requests",
            ),
            graph(
                "Latency budget burn",
                f"How many times more requests than allowed ({objectives.SLOW_BUDGET:.0%}) are slower than the p99"
                " objective of their ModelServe, over an hour. The ten worst.",
                Query(f"topk(10, modelserve:latency_burn:ratio1h{{{SCOPE}}})", SERVE),
                unit=units.TIMES,
                thresholds=burn,
                empty="no objective is set",
            ),
            graph(
                "p99 as a share of the objective",
                "Above 100 % the objective is missed. From the servers' histograms, or from the probe's where the"
                " servers have none. The ten worst.",
                Query(f"topk(10, {p99} / {objective})", SERVE),
                unit=units.RATIO,
                thresholds=[(1, palette.FAILURE)],
                empty="no objective is set",
            ),
        ],
    )


def _energy() -> Section:
    # Mean watts over 5 minutes, sampled every 5 minutes: the integral over time of what the power panel shows.
    rates = f"trainjob:energy_joules:rate5m{{{SCOPE}}} or modelserve:energy_joules:rate5m{{{SCOPE}}}"
    hours = f"sum_over_time(sum({rates})[$__range:5m]) * 300 / 3.6e6"
    return Section(
        "Energy",
        [
            graph(
                "Power of the GPUs",
                "Power of whole boards, including other users of them, from their energy counters; absent under MIG.",
                Query(f"sum(trainjob:energy_joules:rate5m{{{SCOPE}}})", "training", palette.ACCENT),
                Query(f"sum(modelserve:energy_joules:rate5m{{{SCOPE}}})", "serving", palette.SECOND),
                unit=units.WATTS,
                width=10,
                stacked=True,
                empty=NO_GPU,
            ),
            figure(
                "Energy",
                "Energy of training and serving over the time that is shown: power multiplied by time.",
                Query(hours),
                unit=units.KILOWATT_HOURS,
                decimals=2,
                height=8,
                empty=NO_GPU,
            ),
            figure(
                "gCO2e",
                "That energy times the grid's intensity (chart value monitoring.gridIntensity, g/kWh).",
                Query(f"{hours} * on () group_left () trainserve:grid_intensity:grams_per_kwh"),
                unit=units.GRAMS,
                height=8,
                empty="monitoring.gridIntensity is not set",
            ),
            figure(
                "Energy per 1,000 inferences",
                "Mean over all services with an energy counter.",
                Query(f"avg(modelserve:energy_joules_per_1000_inferences:ratio5m{{{SCOPE}}})"),
                unit=units.JOULES,
                width=6,
                height=8,
                empty=NO_GPU,
            ),
        ],
    )


def _versions() -> Section:
    version = f"trainserve_trainjob_published_version{{{SCOPE}}}"
    newest = f"({version} == on (namespace, model) group_left () max by (namespace, model) ({version}))"
    accuracy = f"max by (namespace, trainjob) (trainserve_trainjob_accuracy{{{SCOPE}}})"
    # `^ 0` sets the series to 1, so that the product is the accuracy.
    accurate = f"{newest} ^ 0 * on (namespace, trainjob) group_left () {accuracy}"
    return Section(
        "Newest versions",
        [
            listing(
                "Models",
                "The newest version of each model that a TrainJob published, that TrainJob, and how accurate it is.",
                f"max by (namespace, model, trainjob) {newest}",
                f"max by (namespace, model, trainjob) ({accurate})",
                columns=[
                    Column("Namespace", "namespace", width=115),
                    Column("Model", "model"),
                    Column("Version", value=0, unit=units.WHOLE, width=75),
                    Column("TrainJob", "trainjob", properties=[links.to_trainjob()]),
                    Column("Accuracy", value=1, unit=units.RATIO, decimals=2, width=90),
                ],
                width=12,
                height=8,
                sort="Model",
                empty="nothing is published",
            ),
            listing(
                "Serving",
                "Which version of which model each ModelServe gives its traffic to.",
                f"max by (namespace, modelserve, model, version, digest) (trainserve_modelserve_info{{{SCOPE}}})",
                columns=[
                    Column("Namespace", "namespace", width=115),
                    Column("Model", "model", width=110),
                    Column("Version", "version", width=95),
                    Column("ModelServe", "modelserve", properties=[links.to_modelserve()]),
                    Column("Digest", "digest", width=120),
                ],
                width=12,
                height=8,
                sort="Model",
                empty="nothing is served",
            ),
        ],
    )
