"""Triton's metrics of the machine: CPU, memory and GPUs."""

from __future__ import annotations

from trainserve.api.metrics.definition import Group, Metric

_GPU = ("gpu_uuid",)

MACHINE = Group(
    "Triton: the machine",
    "Refreshed every `--metrics-interval-ms` (2 s) whatever the scrape interval; 0 before the first refresh. The"
    " development server's wheel, and every node without a GPU, has none of those marked *GPU only*.",
    (
        Metric(
            "nv_cpu_utilization",
            "gauge",
            "ratio 0 to 1",
            "Busy share of all cores in the last interval.",
            "Trap: of the *node*, from /proc, not of the pod and not of its limit; every pod on a node reports the"
            " same. For a pod: `container_cpu_usage_seconds_total`.",
        ),
        Metric(
            "nv_cpu_memory_total_bytes",
            "gauge",
            "bytes",
            "Memory of the node.",
            "Trap: the node's, not the pod's limit.",
        ),
        Metric(
            "nv_cpu_memory_used_bytes",
            "gauge",
            "bytes",
            "Memory in use on the node.",
            "Trap: as above; for a pod `container_memory_working_set_bytes`.",
        ),
        Metric(
            "nv_pinned_memory_pool_total_bytes",
            "gauge",
            "bytes",
            "Size of the pool of page-locked memory for copies to GPUs.",
            "256 MiB unless `--pinned-memory-pool-byte-size`. On a server without a GPU it is reserved in name only.",
            (),
            (),
            "",
            "24.01",
        ),
        Metric(
            "nv_pinned_memory_pool_used_bytes",
            "gauge",
            "bytes",
            "How much of it is in use.",
            "Near the total: copies fall back to pageable memory and slow down.",
            (),
            (),
            "",
            "24.01",
        ),
        Metric(
            "nv_gpu_utilization",
            "gauge",
            "ratio 0 to 1",
            "Share of the last sampling period in which any kernel ran.",
            "Trap: one small kernel at a time is 1.0; it tells idle from busy, not how full. Absent under MIG"
            " (server#5324).",
            _GPU,
            (),
            "GPU",
        ),
        Metric(
            "nv_gpu_memory_total_bytes",
            "gauge",
            "bytes",
            "Memory that the GPU has.",
            "What the next is a share of.",
            _GPU,
            (),
            "GPU",
        ),
        Metric(
            "nv_gpu_memory_used_bytes",
            "gauge",
            "bytes",
            "Memory in use, by all processes.",
            "Trap: onnxruntime keeps what it once took: it falls only when a model is unloaded.",
            _GPU,
            (),
            "GPU",
        ),
        Metric(
            "nv_gpu_power_usage",
            "gauge",
            "watts",
            "Power at the moment.",
            "For energy take the counter below.",
            _GPU,
            (),
            "GPU",
        ),
        Metric(
            "nv_gpu_power_limit",
            "gauge",
            "watts",
            "The board's power limit.",
            "`nv_gpu_power_usage` near it: clocks are being lowered.",
            _GPU,
            (),
            "GPU",
        ),
        Metric(
            "nv_energy_consumption",
            "counter",
            "joules",
            "Energy of the board since Triton started.",
            "Over the samples: joules per inference. Trap: of the whole board, whoever else uses it; absent under MIG.",
            _GPU,
            (),
            "GPU",
        ),
    ),
)
