"""`python -m trainserve.dev.preview`: pictures of the committed dashboards, for the README and dashboard developers.

Without --prometheus a development cluster of its own trains and serves for a while first, and is taken down afterwards.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.console import Console

from trainserve.dev.addresses import AddressesUnavailable
from trainserve.dev.binaries import BinariesUnavailable
from trainserve.dev.cluster import CHART, DEFAULT, Cluster
from trainserve.dev.preview import page, scene
from trainserve.dev.progress import ConsoleProgress, Progress
from trainserve.dev.run import ClusterError

DASHBOARDS = CHART / "dashboards"
PICTURES = Path("docs/img")
MINUTES = 10.0
GPUS = 4
"""GPUs of the cluster: one trains, one serves, and a rollout needs two more, to tune and to start the new version."""
SCRAPE = "2"
"""Seconds between two scrapes in the development cluster (trainserve.dev.prometheus.config)."""
TRAINJOB = {"var-namespace": scene.NAMESPACE, "var-trainjob": scene.NIGHT}
MODELSERVE = {"var-namespace": scene.NAMESPACE, "var-modelserve": scene.SERVED}
PICTURED = (
    page.Shot("fleet.png", "fleet"),
    page.Shot("trainjob.png", "trainjob", TRAINJOB),
    page.Shot("modelserve.png", "modelserve", MODELSERVE),
    page.Shot("modelserve-dark.png", "modelserve", {**MODELSERVE, "theme": "dark"}),
    page.Shot("operator.png", "operator"),
)


@click.command(help=(__doc__ or "").split("\n\n", 1)[1])
@click.option("--prometheus", metavar="URL", help="Draw what this Prometheus has, and start nothing.")
@click.option("--minutes", default=MINUTES, show_default=True, help="For how long the cluster trains and serves.")
@click.option("--range", "since", default="", metavar="now-15m", help="The boards' time. Unset: what the cluster ran.")
@click.option("--out", default=PICTURES, show_default=True, type=click.Path(path_type=Path), help="The folder.")
def main(prometheus: str | None, minutes: float, since: str, out: Path) -> None:
    """Draw the pictures."""
    console = Console()
    progress = ConsoleProgress(console)
    try:
        page.chromium()  # before the steps that take minutes
        folder = page.install(progress)
        if prometheus:
            drawn = draw(progress, folder, prometheus, since or "now-15m", out)
        else:
            with TemporaryDirectory(prefix="trainserve-preview-") as scratch:
                drawn = staged(progress, folder, Path(scratch), minutes, since, out)
    except (page.PreviewError, ClusterError, BinariesUnavailable, AddressesUnavailable) as error:
        console.print(f"preview: {error}", style="bold red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(1)
    for path in drawn:
        console.print(f"{path}  {path.stat().st_size / 1000:.0f} kB", highlight=False)


def staged(progress: Progress, folder: Path, scratch: Path, minutes: float, since: str, out: Path) -> list[Path]:
    """Draw the pictures from a temporary cluster that runs for `minutes`."""
    cluster = Cluster(scratch, simulated_gpus=GPUS, progress=progress)
    try:
        cluster.up(*DEFAULT, "operator", "prometheus")
        with progress.task("what the pictures show") as task:
            scene.play(cluster.kubeconfig, minutes, task)
        return draw(progress, folder, cluster.prometheus_url, since or f"now-{minutes:.0f}m", out)
    finally:
        cluster.down()


def draw(progress: Progress, folder: Path, prometheus: str, since: str, out: Path) -> list[Path]:
    """Draw all pictures with data from the Prometheus at the URL `prometheus`."""
    with progress.task("pictures"):
        common = {"range": since, "scrape": SCRAPE, "now": f"{time.time() * 1000:.0f}"}  # fixed for all pictures
        shots = [page.Shot(shot.file, shot.dashboard, {**common, **shot.parameters}) for shot in PICTURED]
        return page.shoot(folder, shots, prometheus, DASHBOARDS, out)


if __name__ == "__main__":
    main()
