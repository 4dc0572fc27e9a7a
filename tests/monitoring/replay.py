"""The fixture "replay": metrics that exist only with a GPU, a newer Triton or a kubelet, in the exporters' own formats.

All other metrics are measured for real. `FAMILIES` lists everything that is replayed; a test holds the texts to it. The
values grow with time, so that rates are not 0.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from trainserve.api import latency_buckets
from trainserve.api.metrics import METRICS

DCGM = {
    "DCGM_FI_DEV_GPU_UTIL",
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_DEV_FB_FREE",
    "DCGM_FI_DEV_POWER_USAGE",
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
    "DCGM_FI_DEV_XID_ERRORS",
}
TRITON = {
    latency_buckets.TRITON,
    "nv_gpu_utilization",
    "nv_gpu_memory_total_bytes",
    "nv_gpu_memory_used_bytes",
    "nv_gpu_power_usage",
    "nv_gpu_power_limit",
    "nv_energy_consumption",
}
TRAINING = {name for name, metric in METRICS.items() if metric.only == "GPU"}
KUBELET = {"kubelet_volume_stats_available_bytes", "kubelet_volume_stats_capacity_bytes"}
FAMILIES = DCGM | TRITON | TRAINING | KUBELET


def dcgm(pod: str, namespace: str, *, host: str = "Hostname") -> str:
    """Return one GPU's metrics in dcgm-exporter's format; `host` is its node's label, `hostname` in newer releases."""
    labels = (
        f'gpu="0",UUID="GPU-3a5d0f2c-5b5e-4a0f-9f6c-6f0f5b8d2a11",pci_bus_id="00000000:1B:00.0",device="nvidia0",'
        f'modelName="NVIDIA H200",{host}="node-1",container="trainer",namespace="{namespace}",pod="{pod}"'
    )
    energy = 350_000 * time.monotonic()
    return "\n".join(
        [
            "# HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %).",
            "# TYPE DCGM_FI_DEV_GPU_UTIL gauge",
            f"DCGM_FI_DEV_GPU_UTIL{{{labels}}} 87",
            "# HELP DCGM_FI_DEV_FB_FREE Framebuffer memory free (in MiB).",
            "# TYPE DCGM_FI_DEV_FB_FREE gauge",
            f"DCGM_FI_DEV_FB_FREE{{{labels}}} 102400",
            "# HELP DCGM_FI_DEV_FB_USED Framebuffer memory used (in MiB).",
            "# TYPE DCGM_FI_DEV_FB_USED gauge",
            f"DCGM_FI_DEV_FB_USED{{{labels}}} 41371",
            "# HELP DCGM_FI_DEV_POWER_USAGE Power draw (in W).",
            "# TYPE DCGM_FI_DEV_POWER_USAGE gauge",
            f"DCGM_FI_DEV_POWER_USAGE{{{labels}}} 352.417000",
            "# HELP DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION Total energy consumption since boot (in mJ).",
            "# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter",
            f"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{{labels}}} {energy:.0f}",
            "# HELP DCGM_FI_DEV_XID_ERRORS Value of the last XID error encountered.",
            "# TYPE DCGM_FI_DEV_XID_ERRORS gauge",
            f"DCGM_FI_DEV_XID_ERRORS{{{labels}}} 0",
            "",
        ]
    )


def triton(model: str, objective: float) -> str:
    """Return the metrics of Triton 26.x on a GPU node that the development server lacks; `objective` is in seconds."""
    family = latency_buckets.TRITON
    bounds = latency_buckets.triton_bounds(objective)
    count = int(40 * time.monotonic())
    labels = f'model="{model}",version="1"'
    lines = [f"# HELP {family} Duration from request to first response in milliseconds", f"# TYPE {family} histogram"]
    lines += [f"{family}_count{{{labels}}} {count}", f"{family}_sum{{{labels}}} {count * 300}"]
    shares = ((f"{bound:.16g}", 0.5 + 0.5 * bound / bounds[-1]) for bound in bounds)
    lines += [f'{family}_bucket{{{labels},le="{bound}"}} {int(count * share)}' for bound, share in shares]
    lines += [f'{family}_bucket{{{labels},le="+Inf"}} {count}']
    gpu = 'gpu_uuid="GPU-7c1d7e90-0b52-9a6f-3a4e-1f2d5c6b7a88"'
    for name, kind, text, value in (
        ("nv_gpu_utilization", "gauge", "GPU utilization rate [0.0 - 1.0)", "0.62"),
        ("nv_gpu_memory_total_bytes", "gauge", "GPU total memory, in bytes", "150754820096"),
        ("nv_gpu_memory_used_bytes", "gauge", "GPU used memory, in bytes", "3435134976"),
        ("nv_gpu_power_usage", "gauge", "GPU power usage in watts", "214.331"),
        ("nv_gpu_power_limit", "gauge", "GPU power management limit in watts", "700"),
        ("nv_energy_consumption", "counter", "GPU energy consumption in joules since the Triton Server started", None),
    ):
        figure = value or f"{214 * time.monotonic():.3f}"
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}", f"{name}{{{gpu}}} {figure}"]
    return "\n".join([*lines, ""])


def training() -> str:
    """Return the metrics of a training pod that exist only with a GPU."""
    values = {
        "trainserve_train_gpu_utilization_ratio": "0.91",
        "trainserve_train_gpu_memory_used_bytes": "8589934592.0",
        "trainserve_train_gpu_energy_joules_total": f"{350 * time.monotonic():.3f}",
    }
    lines = []
    for name, value in values.items():
        metric = METRICS[name]
        lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.kind}", f'{name}{{gpu="0"}} {value}']
    return "\n".join([*lines, ""])


def kubelet(namespace: str, claim: str = "trainserve-models") -> str:
    """Return the metrics of the store's claim, as the kubelet of a node that has it mounted reports them."""
    labels = f'namespace="{namespace}",persistentvolumeclaim="{claim}"'
    return "\n".join(
        [
            "# HELP kubelet_volume_stats_available_bytes [ALPHA] Number of available bytes in the volume",
            "# TYPE kubelet_volume_stats_available_bytes gauge",
            f"kubelet_volume_stats_available_bytes{{{labels}}} 8.0530636e+10",
            "# HELP kubelet_volume_stats_capacity_bytes [ALPHA] Capacity in bytes of the volume",
            "# TYPE kubelet_volume_stats_capacity_bytes gauge",
            f"kubelet_volume_stats_capacity_bytes{{{labels}}} 1.07374182e+11",
            "",
        ]
    )


@contextmanager
def served(texts: dict[str, Callable[[], str]]) -> Iterator[str]:
    """Serve each path's text on loopback; yield host:port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = texts[self.path]().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
