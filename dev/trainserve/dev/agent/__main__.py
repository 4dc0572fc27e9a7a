"""`python -m trainserve.dev.agent`: run the development cluster's node until SIGTERM or SIGINT."""

import asyncio
import contextlib
import ipaddress
import logging
import signal
from pathlib import Path

import aiohttp
import click

from trainserve.dev.agent import node
from trainserve.dev.agent.agent import Agent
from trainserve.dev.agent.cgroups import Cgroups
from trainserve.dev.agent.client import Client, Refused
from trainserve.dev.agent.gpus import Allocator
from trainserve.dev.agent.host import AddressPool, Host
from trainserve.dev.agent.hosts import HostsFiles
from trainserve.dev.agent.logs import LogWatcher
from trainserve.dev.agent.probes import probe_session
from trainserve.dev.agent.runtime import Runtime
from trainserve.dev.agent.server import LogServer
from trainserve.operator import rest

logger = logging.getLogger("trainserve.dev.agent")


@click.command()
@click.option(
    "--kubeconfig", type=click.Path(path_type=Path, exists=True), required=True, help="How to reach the API server."
)
@click.option("--directory", type=click.Path(path_type=Path), required=True, help="Where the state of pods is kept.")
@click.option("--simulated-gpus", default=0, show_default=True, help="GPUs to claim where the machine has none.")
@click.option("--path-prepend", type=click.Path(path_type=Path), multiple=True, help="First on every container's PATH.")
@click.option("--node-name", default="trainserve-dev", show_default=True, help="Name of the Node.")
@click.option("--pod-cidr", default="127.64.0.0/16", show_default=True, help="Loopback range of pod addresses.")
@click.option("--kubelet-port", default=0, help="Port that serves logs; by default a free one.")
def main(
    kubeconfig: Path,
    directory: Path,
    simulated_gpus: int,
    path_prepend: tuple[Path, ...],
    node_name: str,
    pod_cidr: str,
    kubelet_port: int,
) -> None:
    """Register this machine as a node and run the pods bound to it as processes."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        network = ipaddress.IPv4Network(pod_cidr)
    except ValueError as error:
        raise click.UsageError(f"--pod-cidr: {error}") from error
    if not network.is_loopback:
        raise click.UsageError(f"--pod-cidr: {network} is not within 127.0.0.0/8")
    options = (kubeconfig, directory.resolve(), simulated_gpus, path_prepend, node_name, network, kubelet_port)
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(serve(*options))


async def serve(
    kubeconfig: Path,
    directory: Path,
    simulated_gpus: int,
    path_prepend: tuple[Path, ...],
    node_name: str,
    pod_cidr: ipaddress.IPv4Network,
    kubelet_port: int,
) -> None:
    """Run the agent until SIGTERM or SIGINT."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    for folder in ("pods", "agent"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    machine = node.Machine.observe(directory, simulated_gpus)
    client = Client(await rest.configuration(kubeconfig))
    host = Host(
        name=node_name,
        ip=node.NODE_IP,
        directory=directory,
        client=client,
        runtime=Runtime(directory / "agent"),
        cgroups=Cgroups(directory),
        gpus=Allocator(machine.gpus.ids),
        addresses=AddressPool(pod_cidr),
        hosts=HostsFiles(),
        probes=probe_session(),
        logs=LogWatcher(),
        allocatable=machine.allocatable(),
        path_prepend=path_prepend,
        simulated_gpus=machine.gpus.simulated,
    )
    agent = Agent(host)
    logs = LogServer(agent.find_log, host.logs, directory / "agent")
    try:
        port = await logs.start(node.NODE_IP, kubelet_port)
        await _register(client, node_name, machine, port)
        logger.info("node %s: %s", node_name, machine)
        await agent.run()
    finally:
        await logs.stop()
        await host.probes.close()
        await client.close()


async def _register(client: Client, name: str, machine: node.Machine, port: int) -> None:
    while True:
        try:
            version = (await client.get("/version"))["gitVersion"]
            await node.register(client, node.node_object(name, machine, version, port))
        except (Refused, aiohttp.ClientError, TimeoutError, OSError) as error:
            logger.warning("registering the node: %s", error)
            await asyncio.sleep(0.5)
        else:
            return


if __name__ == "__main__":
    main()
