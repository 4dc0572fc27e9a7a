"""Start of a cluster's components, and the wait until each is ready."""

from __future__ import annotations

import os
import time
from pathlib import Path

from trainserve.dev import addresses, etcd_data, process, state
from trainserve.dev.binaries import Binaries
from trainserve.dev.components import PORTS, Components, Layout
from trainserve.dev.helm import HelmUnavailable
from trainserve.dev.progress import Progress, Task
from trainserve.dev.prometheus import config
from trainserve.dev.state import State

READY_SECONDS = 120.0
POLL_SECONDS = 0.05


class ClusterError(Exception):
    """The cluster cannot reach the wanted state; the message names the component, its log and its last line."""


class PortTaken(ClusterError):
    """A component ended because another program listens on its port."""


def mark(folder: Path, component: str) -> str:
    """Return the mark in the environment of every process of a component (process.MARK)."""
    return f"{folder}:{component}"


class Run:
    """One command's work on a cluster whose lock the caller holds."""

    def __init__(self, layout: Layout, current: State, binaries: Binaries, progress: Progress, task: Task) -> None:
        self.layout, self.state, self.progress, self.task = layout, current, progress, task
        self.components = Components(layout, current.addresses, binaries, current.simulated_gpus)
        self.components.write_files()
        self.started: dict[str, float] = {}

    def start(self, name: str) -> None:
        """Start a component, unless it already runs with the same command."""
        component = self.components.component(name)
        running = self.state.processes.get(name)
        if running and running.alive:
            # A garbage collector that outlived its API server was observed to lose track of custom resources' children.
            outlived = name == "controller-manager" and "apiserver" in self.started
            if running.command == tuple(component.command) and not outlived:
                return
            process.stop([running])
        self.started[name] = time.monotonic()
        self.state.starting = (name, tuple(component.command))
        state.save(self.layout.state, self.state)
        self.state.processes[name] = process.start(
            component.command,
            mark=mark(self.layout.folder, name),
            log=self.layout.log(name),
            environment={**os.environ, **component.environment},
        )
        self.state.starting = None
        state.save(self.layout.state, self.state)

    def await_ready(self, name: str, seconds: float = READY_SECONDS) -> None:
        """Return once the component reports that it is ready. Raises ClusterError if it ends or after `seconds`."""
        ready = self.components.component(name).ready
        started, log = self.state.processes[name], self.layout.log(name)
        self.task.update(f"waiting for {name}")
        give_up = time.monotonic() + seconds
        while not ready():
            if not started.alive:
                words = process.last_words(log)
                if name == "etcd" and (said := etcd_data.explained(words, started.command[0], self.layout.etcd)):
                    raise ClusterError(f"{said} (see {log})")
                told = f"{name} ended before it was ready: {words} (see {log})"
                ports = [self.state.addresses.ports[port] for port in PORTS[name]]
                raise (ClusterError if all(map(addresses.is_free, ports)) else PortTaken)(told)
            if time.monotonic() > give_up:
                raise ClusterError(f"{name} was not ready after {seconds:.0f} s: {process.last_words(log)} (see {log})")
            time.sleep(POLL_SECONDS)
        since = self.started.get(name)
        told = f"ready in {time.monotonic() - since:.1f} s" if since else "runs already"
        self.progress.note(f"{name}: {told} (pid {started.pid})")

    def bootstrap(self, chart: Path) -> None:
        """Create TrainServe's objects in the API server, and write the operator's kubeconfig. Raises ClusterError."""
        from trainserve.dev import bootstrap, kube  # here, because Kubernetes' client takes a while to import

        self.task.update("applying CRDs and the operator's role")
        with kube.Client(self.layout.kubeconfig) as client:
            try:
                bootstrap.bootstrap(client, chart)
                token = bootstrap.account_token(client, bootstrap.OPERATOR)
            except bootstrap.BootstrapError as error:
                raise ClusterError(str(error)) from error
        self.components.write_kubeconfig(self.layout.operator_kubeconfig, bootstrap.OPERATOR, token)

    def configure_prometheus(self, chart: Path) -> None:
        """Create Prometheus' account, and write its configuration from the chart. Raises ClusterError.

        If the configuration differs, a running Prometheus is stopped before its files change; the caller restarts it.
        """
        from trainserve.dev import bootstrap, kube

        self.task.update("configuring Prometheus from the chart")
        layout = self.layout
        try:
            objects = config.rendered(chart)
            with kube.Client(layout.kubeconfig) as client:
                for wanted in bootstrap.prometheus_objects():
                    bootstrap.put(client, wanted)
                state.write(layout.prometheus_token, bootstrap.account_token(client, bootstrap.PROMETHEUS))
        except (bootstrap.BootstrapError, config.ChartNotRendered, HelmUnavailable) as error:
            raise ClusterError(f"no Prometheus: {error}") from error
        wanted_files = config.files(objects, self.components.prometheus_surroundings())
        paths = {layout.prometheus / name: content for name, content in wanted_files.items()}
        running = self.state.processes.get("prometheus")
        if running and any(not path.exists() or path.read_text() != content for path, content in paths.items()):
            process.stop([running])
        for path, content in paths.items():
            state.write(path, content)
