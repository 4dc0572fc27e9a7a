"""`python -m trainserve.dev.demo`: applies the digits example, follows training and serving, checks the predictions.

The exit status is 0 only if every step was verified: the run completed and published, the service became ready with
that version, and the served model's accuracy on the test images equals the accuracy that the training run reported.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import click
from kubernetes.config import ConfigException
from rich.console import Console
from rich.table import Table

from trainserve.api.pod import Endpoint, Port
from trainserve.cli import endpoint
from trainserve.client import Protocol, RequestFailed
from trainserve.dev import binaries, prometheus
from trainserve.dev.addresses import AddressesUnavailable
from trainserve.dev.binaries import BinariesUnavailable
from trainserve.dev.cluster import DEFAULT, Cluster
from trainserve.dev.demo import monitoring
from trainserve.dev.demo.requests import Answers, ask
from trainserve.dev.demo.watch import DemoError, conditions, follow
from trainserve.dev.helm import HelmUnavailable, helm
from trainserve.dev.kube import Client, Object, Refused, is_true
from trainserve.dev.locks import held
from trainserve.dev.progress import ConsoleProgress, Progress
from trainserve.dev.prometheus import PrometheusUnavailable
from trainserve.dev.run import ClusterError

EXAMPLE = Path("examples/digits")
DIRECTORY = Path(".dev")
NAMESPACE = "default"
PROTOCOLS: tuple[Protocol, ...] = ("http", "grpc")
EXPECTED = (
    DemoError,
    Refused,
    ConfigException,
    ClusterError,
    AddressesUnavailable,
    BinariesUnavailable,
    RequestFailed,
    OSError,
)
SHOWN = 10
"""Number of rows in the table of predictions."""


def kubectl(*arguments: str) -> None:
    """Run kubectl as a user would, showing the command and its output. Raises DemoError if it fails."""
    click.echo(f"$ kubectl {' '.join(arguments)}")
    done = subprocess.run([binaries.kubectl(), *arguments], check=False)
    if done.returncode:
        raise DemoError(f"kubectl {' '.join(arguments)} ended with status {done.returncode}")


def finished(job: Object) -> bool:
    """Return whether a TrainJob was refused, has completed or has failed."""
    refused = conditions(job).get("Accepted", {}).get("status") == "False"
    return refused or is_true(job, "Complete") or is_true(job, "Failed")


def serves(version: int) -> Any:
    """Return a predicate on a ModelServe: whether it is ready and serves `version`."""

    def ready(serve: Object) -> bool:
        return is_true(serve, "Ready") and serve["status"].get("version") == version

    return ready


def train(console: Console, client: Client) -> Object:
    """Apply the TrainJob, follow it to its end and return it. Raises DemoError unless it published a version."""
    kubectl("delete", "tsj", "digits", "--ignore-not-found")  # the spec is immutable: a new run needs a new object
    kubectl("apply", "-f", str(EXAMPLE / "trainjob.yaml"))
    job = follow(console, client, "TrainJob", "digits", finished, 300)
    if not is_true(job, "Complete"):
        raise DemoError("the TrainJob did not complete; its conditions above say why")
    artifact, result = job["status"]["artifact"], job["status"]["result"]
    console.print(
        f"  published version {artifact['version']}: accuracy {result['accuracy']:.4f}, {artifact['bytes']:,} bytes, "
        f"opset {artifact['opset']}, onnxruntime within {artifact['parity']['maxAbs']:.1e} of PyTorch",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"  {artifact['uri']}  {artifact['digest'][:19]}…", highlight=False, soft_wrap=True)
    return job


def predictions(console: Console, answers: list[Answers], labels: Any) -> None:
    """Print the first predictions and their labels, then accuracy and latency for each protocol."""
    http, grpc = answers
    table = Table("image", "label", "HTTP", "gRPC", "probability", title="Predictions against labels")
    for row in range(SHOWN):
        right = http.predictions[row] == labels[row] == grpc.predictions[row]
        table.add_row(
            str(row),
            str(labels[row]),
            str(http.predictions[row]),
            str(grpc.predictions[row]),
            f"{http.probabilities[row]:.3f}",
            style="" if right else "red",
        )
    console.print(table)
    summary = Table("protocol", "images", "accuracy", "p50", "p99", title="One request an image")
    for each in answers:
        p50, p99 = each.percentile(50), each.percentile(99)
        summary.add_row(
            each.protocol, str(len(labels)), f"{each.accuracy(labels):.4f}", f"{p50:.2f} ms", f"{p99:.2f} ms"
        )
    console.print(summary)


def check_answers(console: Console, job: Object) -> int:
    """Send the test split over HTTP and gRPC; return the number of requests.

    Raises DemoError unless the accuracy over each protocol is the one that the run reported.
    """
    from trainserve.models.config import Dataset  # here, because scikit-learn takes a second to import
    from trainserve.models.data import load

    data = load(Dataset(name="digits"), job["spec"]["trainer"]["seed"])
    answers = []
    for protocol in PROTOCOLS:
        with endpoint.of_serve("digits", NAMESPACE, protocol) as address:
            answers.append(ask(protocol, address, "digits", data.test_images))
    predictions(console, answers, data.test_targets)
    reported = job["status"]["result"]["accuracy"]
    for each in answers:
        seen = each.accuracy(data.test_targets)
        if abs(seen - reported) > 1e-6:
            raise DemoError(f"{each.protocol}: accuracy {seen:.4f} is not the {reported:.4f} that the run reported")
    return len(PROTOCOLS) * len(data.test_targets)


def watch(console: Console, url: str, sent: int) -> None:
    """Show that Prometheus scrapes the running pods and has counted `sent` requests. Raises DemoError otherwise."""
    targets = Table("job", "target", "of", "state", title="What Prometheus scrapes")
    for target in sorted(monitoring.await_targets(url, 60), key=lambda each: str(each["labels"]["job"])):
        labels = target["labels"]
        of = labels.get("modelserve") or labels.get("trainjob") or labels["pod"]
        targets.add_row(labels["job"], labels["instance"], of, target["health"])
    console.print(targets)
    counted = monitoring.await_value(url, 'sum(nv_inference_request_success{model="digits"})', sent, 60)
    console.print(
        f"  Prometheus at {url} has counted {counted:.0f} inferences; {sent} of them were step 4's.",
        highlight=False,
        soft_wrap=True,
    )


def next_steps(console: Console, client: Client, kubeconfig: Path, cluster: Cluster | None, watched: bool) -> None:
    """Print commands to try next."""
    host = client.get("Service", "digits")["spec"].get("clusterIP", "")
    console.print("\nThe cluster is still up. Look around:", style="bold")
    lines = [
        f"export KUBECONFIG={kubeconfig}",
        "kubectl get tsj,tsm,pods",
        "kubectl describe tsj digits",
        "kubectl logs -l trainserve.io/trainjob=digits",
        f"curl -s http://{host}:{Port.HTTP}/v2/models/digits",
        f"curl -s http://{host}:{Port.METRICS}{Endpoint.METRICS} | grep ^nv_inference",
    ]
    if cluster:
        lines.append(f"curl -s {cluster.metrics_url} | grep ^trainserve_")
        if watched:
            lines.append(f"curl -s '{cluster.prometheus_url}/api/v1/query?query=trainserve_modelserve_replicas_ready'")
        lines.append(".venv/bin/trainserve models ls --store .dev/store")
    for line in lines:
        console.print(f"  {line}", highlight=False, soft_wrap=True)
    if cluster:
        console.print("make demo-down stops all of it.")


def monitors(console: Console, progress: Progress) -> tuple[str, ...]:
    """Return ("prometheus",), or () after printing the reason if Prometheus is not available."""
    try:
        prometheus.prepare_discovering(progress)
        helm(progress=progress)
    except (PrometheusUnavailable, HelmUnavailable) as error:
        console.print(f"Prometheus is not started: {error}", style="yellow", highlight=False, markup=False)
        return ()
    return ("prometheus",)


def connect(console: Console) -> tuple[Path, Cluster | None, bool]:
    """Return the kubeconfig, the development cluster, and whether Prometheus runs.

    With KUBECONFIG set, the cluster is that one (None, since it is not started here).
    """
    if given := os.environ.get("KUBECONFIG"):
        click.echo(f"Using the cluster of KUBECONFIG={given}; nothing is started here.")
        return Path(given), None, False
    progress = ConsoleProgress(console)
    cluster = Cluster(DIRECTORY, progress=progress)
    watching = monitors(console, progress)
    cluster.up(*DEFAULT, "operator", *watching)
    return cluster.kubeconfig, cluster, bool(watching)


def demo(console: Console) -> None:
    """Run all steps. Raises DemoError at the first failure."""
    console.rule("1  a Kubernetes cluster and the operator")
    kubeconfig, cluster, watched = connect(console)
    os.environ["KUBECONFIG"] = str(kubeconfig)  # for kubectl, run here and by functions of the command line
    client = Client(kubeconfig, NAMESPACE)
    kubectl("get", "nodes", "-L", "nvidia.com/gpu.product,trainserve.io/gpu-simulated")
    kubectl("get", "crd", "trainjobs.trainserve.io", "modelserves.trainserve.io")

    console.rule("2  train, export, check, publish")
    job = train(console, client)
    version = job["status"]["artifact"]["version"]

    console.rule("3  serve on Triton")
    kubectl("apply", "-f", str(EXAMPLE / "modelserve.yaml"))
    follow(console, client, "ModelServe", "digits", serves(version), 180)
    kubectl("get", "tsj,tsm")

    console.rule("4  ask it")
    sent = check_answers(console, job)
    told = f"trained, checked, published, served as version {version}, right answers"

    if cluster and watched:
        console.rule("5  watch it")
        watch(console, cluster.prometheus_url, sent)
        told += ", counted"
    console.print(f"Every step verified: {told}.", style="green", soft_wrap=True)
    next_steps(console, client, kubeconfig, cluster, watched)


def main() -> None:
    """Entry point of `make demo`."""
    console = Console()
    began = time.monotonic()
    waiting = partial(console.print, "waiting for another demo in this folder to finish")
    try:
        with held(Path(".demo.lock"), waiting):
            demo(console)
    except EXPECTED as error:
        console.print(f"demo: {error}", style="bold red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(1)
    console.print(f"{time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    main()
