"""Servers of the service, and their GPUs."""

from __future__ import annotations

from trainserve.dev.dashboards import palette, units
from trainserve.dev.dashboards.boards.modelserve.labels import NAMESPACE, SERVE
from trainserve.dev.dashboards.layout import Section
from trainserve.dev.dashboards.panels import NO_GPU, Column, Query, graph, listing


def servers() -> Section:
    """Build the section with replicas, deviation from the recorded outputs, and the settings in use."""
    differences = f"max by (pod, version) (trainserve_probe_max_abs_difference{{{SERVE}}})"
    return Section(
        "Servers",
        [
            graph(
                "Replicas",
                "Ready, of the version that takes traffic; answering, as their probes have it, of any version.",
                Query(f"max(trainserve_modelserve_replicas_desired{{{SERVE}}})", "asked for", palette.WAITING, True),
                Query(f"max(trainserve_modelserve_replicas_ready{{{SERVE}}})", "ready", palette.SUCCESS),
                Query(f"sum(trainserve_probe_up{{{SERVE}}})", "answering", palette.ACCENT),
                unit=units.WHOLE,
            ),
            graph(
                "Difference from what was recorded",
                "Largest difference between a server's outputs for the recorded samples and what PyTorch gave. Servers"
                " of one version that differ run on different hardware.",
                Query(differences, "{{pod}} version {{version}}"),
                unit=units.COUNT,
                empty="nothing was recorded",
            ),
            listing(
                "Settings",
                "What takes traffic, and the settings that it is served with.",
                f"max by (version, digest, instances, max_batch) (trainserve_modelserve_info{{{SERVE}}})",
                columns=[
                    Column("Version", "version", width=95),
                    Column("Digest", "digest", width=110),
                    Column("Instances", "instances", width=100),
                    Column("Max batch", "max_batch", width=100),
                ],
                width=8,
                height=8,
                empty="nothing is served",
            ),
        ],
    )


def gpu() -> Section:
    """Build the section with utilisation, memory and power of the GPUs, and energy per inference."""
    legend = "{{pod}} {{gpu_uuid}}"
    return Section(
        "GPU",
        [
            graph(
                "GPU utilisation",
                "Share of time in which any kernel ran: idle or busy, not how full.",
                Query(
                    f"gpu:utilization:ratio{{{NAMESPACE}}} and on (namespace, pod) trainserve_probe_up{{{SERVE}}}",
                    "{{pod}} GPU {{gpu}}",
                ),
                unit=units.RATIO,
                high=1,
                width=6,
                empty=NO_GPU,
            ),
            graph(
                "GPU memory",
                "In use by all processes. onnxruntime keeps what it once took.",
                Query(f"nv_gpu_memory_used_bytes{{{SERVE}}}", legend),
                unit=units.BYTES,
                width=6,
                empty=NO_GPU,
            ),
            graph(
                "Power",
                "Of the whole boards, at the moment of a scrape, and from their energy counters over 5 minutes.",
                Query(f"nv_gpu_power_usage{{{SERVE}}}", legend),
                Query(f"sum(modelserve:energy_joules:rate5m{{{SERVE}}})", "all, 5 min", palette.ACCENT),
                unit=units.WATTS,
                width=6,
                empty=NO_GPU,
            ),
            graph(
                "Energy per 1,000 inferences",
                "Energy of the boards over the samples that were computed.",
                Query(
                    f"max(modelserve:energy_joules_per_1000_inferences:ratio5m{{{SERVE}}})",
                    "1,000 inferences",
                    palette.ACCENT,
                ),
                unit=units.JOULES,
                width=6,
                empty=NO_GPU,
            ),
        ],
    )
