"""Memory of the operator with 5,000 TrainJobs whose options have the maximum size, 64 KiB each.

Half of them hold texts, and half lists of numbers, which take most memory when parsed. All exist before the operator
starts, so that it lists them at once; all are suspended (policy.suspend), so that the figure covers objects and not
pods. The peak (VmHWM) is read a minute after all are known, and must be below the chart's limit.

Run with `python -m bench.operator_memory`.
"""

from __future__ import annotations

import base64
import json
import random
import ssl
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import urllib3
import yaml
from prometheus_client.parser import text_string_to_metric_families

from bench.report import Bar, report, versions
from trainserve.api import API_VERSION, GROUP
from trainserve.api.metrics.operator import TRAINJOBS_BY_PHASE
from trainserve.api.open_fields import MAX_BYTES, MAX_FIELDS, MAX_ITEMS
from trainserve.api.scalars import quantity
from trainserve.dev.cluster import CHART, Cluster

COUNT = 5000
DEADLINE = 3600.0
"""Maximum seconds until the operator knows all TrainJobs."""
WORKING = 60.0
"""Seconds of further work on the TrainJobs: each is read again and refused, and its status is written."""


def main() -> None:
    """Create the TrainJobs, start the operator, and report its memory."""
    limit = quantity.memory(
        yaml.safe_load((CHART / "values.yaml").read_text())["operator"]["resources"]["limits"]["memory"]
    )
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder))
        try:
            cluster.up("etcd", "apiserver", "controller-manager", "operator")
            cluster.kill("operator")
            _store(Path(folder))
            cluster.start("operator")
            alone = _peak(cluster)
            seconds = _until_all_are_known(cluster)
            time.sleep(WORKING)
            peak = _peak(cluster)
        finally:
            cluster.down()
    bars = [
        Bar("operator's peak", peak / 2**20, "MiB", float(limit) / 2**20, "less"),
        Bar("of it right after its start", alone / 2**20, "MiB"),
        Bar("all are known after", seconds, "s"),
    ]
    n = {"trainJobs": COUNT, "bytesOfOptions": _size(next(_options()))}
    sys.exit(0 if report("operator_memory", bars, n, versions("kopf", "kubernetes", "aiohttp")) else 1)


def _options() -> Iterator[dict[str, Any]]:
    """Yield options for one TrainJob after another, each of the maximum size."""
    rng = random.Random(0)
    while True:
        yield _filled("w" * (MAX_BYTES // MAX_FIELDS - 20), rng)
        yield _filled([rng.randrange(100, 1000) for _ in range(MAX_ITEMS - 60)], rng)


def _filled(value: Any, rng: random.Random) -> dict[str, Any]:
    options = {f"option{number}": value for number in range(MAX_FIELDS - 1)}
    options["rest"] = "".join(rng.choices("abcdef", k=min(4000, MAX_BYTES - _size(options) - 20)))
    assert _size(options) <= MAX_BYTES
    return options


def _size(options: dict[str, Any]) -> int:
    return len(json.dumps(options))


def _store(folder: Path) -> None:
    """Write the TrainJobs into etcd as the API server would, which would itself take half an hour."""
    pki, port = folder / "pki", json.loads((folder / "cluster.json").read_text())["ports"]["etcd"]
    verify = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    verify.load_cert_chain(pki / "etcd.crt", pki / "etcd.key")
    created, options = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), _options()
    with urllib3.PoolManager(ssl_context=verify, timeout=60, retries=False) as client:
        for number in range(COUNT):
            spec = {
                "model": {"name": "convnet", "options": next(options)},
                "dataset": {"name": "digits"},
                "output": {"model": f"m{number}"},
                "policy": {"suspend": True},
            }
            metadata = {"name": f"large-{number}", "namespace": "default", "generation": 1, "uid": str(uuid.uuid4())}
            metadata |= {"creationTimestamp": created}
            whole = {"apiVersion": API_VERSION, "kind": "TrainJob", "metadata": metadata, "spec": spec}
            key = f"/registry/{GROUP}/trainjobs/default/{metadata['name']}"
            put = {"key": _base64(key), "value": _base64(json.dumps(whole))}
            answer = client.request("POST", f"https://127.0.0.1:{port}/v3/kv/put", json=put)
            assert answer.status == 200, answer.data


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _until_all_are_known(cluster: Cluster) -> float:
    """Return the seconds until the operator's own metrics count every TrainJob."""
    start = time.monotonic()
    while _counted(cluster) < COUNT:
        assert time.monotonic() - start < DEADLINE, f"{_counted(cluster):.0f} of {COUNT} are known"
        time.sleep(1)
    return time.monotonic() - start


def _counted(cluster: Cluster) -> float:
    answer = urllib3.request("GET", cluster.metrics_url, timeout=60)
    families = text_string_to_metric_families(answer.data.decode())
    found = (sample for family in families for sample in family.samples if sample.name == TRAINJOBS_BY_PHASE.name)
    return sum(sample.value for sample in found)


def _peak(cluster: Cluster) -> int:
    """Return the operator's peak memory in bytes."""
    lines = Path(f"/proc/{cluster.status()['operator'].pid}/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kilobytes) * 1024


if __name__ == "__main__":
    main()
