"""A development cluster in a folder: starts its components, tracks their processes, and stops all of them.

Every command can be killed at any point and repeated: it compares running with wanted components and acts only on the
difference. Only one command at a time works on a cluster; others wait for its lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from trainserve.dev import addresses, binaries, process, state
from trainserve.dev.agent import cleanup
from trainserve.dev.components import COMPONENTS, PORTS, STAGES, Layout, with_needs
from trainserve.dev.locks import held
from trainserve.dev.progress import SILENT, Progress
from trainserve.dev.run import ClusterError, PortTaken, Run, mark
from trainserve.dev.state import DEFAULT_GPUS, State

CHART = Path(__file__).parents[3] / "charts" / "trainserve"
DEFAULT = tuple(component for component in COMPONENTS if component not in ("operator", "prometheus"))
STOPPING = (("prometheus", "operator", "agent", "scheduler", "controller-manager"), ("apiserver",), ("etcd",))
PORT_ATTEMPTS = 3


@dataclass(frozen=True)
class Status:
    """State of one component."""

    component: str
    state: str
    """`running`, `died` (started, but no longer running) or `stopped`."""
    pid: int | None
    log: Path

    @classmethod
    def of(cls, component: str, started: process.Process | None, log: Path) -> Status:
        """Return the status of a component whose recorded process is `started`."""
        condition = "stopped" if started is None else "running" if started.alive else "died"
        return cls(component, condition, started.pid if started else None, log)


class Cluster:
    """A development cluster whose state is in `directory`. Nothing is started before `up`."""

    def __init__(
        self, directory: Path, *, simulated_gpus: int = DEFAULT_GPUS, progress: Progress = SILENT, chart: Path = CHART
    ) -> None:
        self.directory = directory.absolute()
        self.simulated_gpus, self.progress, self.chart = simulated_gpus, progress, chart
        self.layout = Layout(self.directory)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.layout.kubeconfig

    @property
    def operator_kubeconfig(self) -> Path:
        """The kubeconfig of the operator's ServiceAccount, which has exactly the rights of the chart's role."""
        return self.layout.operator_kubeconfig

    @property
    def store(self) -> Path:
        """The folder of the model store."""
        return self.layout.store

    @property
    def metrics_url(self) -> str:
        """The URL of the operator's metrics. Raises ClusterError before the first `up`."""
        return f"http://127.0.0.1:{self._state().addresses.ports['metrics']}/metrics"

    @property
    def prometheus_url(self) -> str:
        """The URL of Prometheus. Raises ClusterError before the first `up`."""
        return f"http://127.0.0.1:{self._state().addresses.ports['prometheus']}"

    def up(self, *components: str) -> None:
        """Start the components, their dependencies, and those that died; by default all but operator and Prometheus.

        Returns once all are ready. A component that runs with an outdated command is restarted.
        Raises ClusterError, binaries.BinariesUnavailable, addresses.AddressesUnavailable.
        """
        asked = _known(components) or DEFAULT
        with self._locked():
            programs = binaries.prepare(self.progress)
            current = self._claim()
            wanted = with_needs([*asked, *current.processes])
            with self.progress.task(f"cluster {self.directory}") as task:
                for attempt in range(1, PORT_ATTEMPTS + 1):
                    try:
                        self._leave_taken_ports(current, wanted)
                        run = Run(self.layout, current, programs, self.progress, task)
                        self._bring_up(wanted, run)
                        return
                    except PortTaken:
                        if attempt == PORT_ATTEMPTS:
                            raise

    def start(self, component: str) -> None:
        """Start one component, as after `kill` or a crash, and return once it is ready. Raises ClusterError."""
        _known([component])
        self._state()
        with self._locked(), self.progress.task(f"cluster {self.directory}") as task:
            current = self._claim()
            run = Run(self.layout, current, binaries.prepare(), self.progress, task)
            manager = current.processes.get("controller-manager")
            also = ["controller-manager"] if component == "apiserver" and manager and manager.alive else []
            for name in (component, *also):
                run.start(name)
                run.await_ready(name)

    def kill(self, component: str) -> None:
        """End one component with SIGKILL, as a crash would. Raises ClusterError if it was never started."""
        _known([component])
        started = self._state().processes.get(component)
        if started is None:
            raise ClusterError(f"{component} of {self.directory} was not started")
        process.stop([started], grace=0)

    def down(self) -> None:
        """Stop every component and every process of a pod. The cluster's data are kept for the next `up`."""
        if not self.directory.is_dir():
            return
        with self._locked():
            current = state.load(self.layout.state)
            started = current.processes if current else {}
            for stage in STOPPING:
                process.stop(started[name] for name in stage if name in started)
            cleanup(self.directory)
            process.stop(process.marked(mark(self.directory, "")), grace=0)
            if current:
                current.processes, current.starting = {}, None
                state.save(self.layout.state, current)

    def status(self) -> dict[str, Status]:
        """Return the state of each component, by name."""
        current = state.load(self.layout.state)
        started = current.processes if current else {}
        return {name: Status.of(name, started.get(name), self.layout.log(name)) for name in COMPONENTS}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        waiting = partial(self.progress.note, f"waiting for another command on {self.directory} to finish")
        with held(self.layout.lock, waiting):
            yield

    def _state(self) -> State:
        current = state.load(self.layout.state)
        if current is None:
            raise ClusterError(f"{self.directory} has no cluster: bring one up first")
        return current

    def _claim(self) -> State:
        current = state.load(self.layout.state)
        register = binaries.default_cache() / "clusters.json"
        claimed = addresses.claim(register, self.directory, current.addresses.number if current else None)
        current = current or State(claimed)
        if current.starting:  # the command that started it was killed before the pid was recorded
            component, command = current.starting
            marked = process.marked(mark(self.directory, component))
            process.stop(each for each in marked if each.command == command)
            current.starting = None
        current.simulated_gpus = self.simulated_gpus
        state.save(self.layout.state, current)
        return current

    def _leave_taken_ports(self, current: State, wanted: Iterable[str]) -> None:
        """Assign new ports to components that are about to start if other programs listen on their ports."""
        ports = current.addresses.ports
        idle = [name for name in wanted if name not in current.processes or not current.processes[name].alive]
        taken = {port for name in idle for port in PORTS[name] if not addresses.is_free(ports[port])}
        if taken:
            # Every component holds addresses of the others: in its command, kubeconfig or open connections.
            process.stop(current.processes.values())
            current.addresses = addresses.moved(current.addresses, taken)
            state.save(self.layout.state, current)

    def _bring_up(self, wanted: Sequence[str], run: Run) -> None:
        for stage in STAGES:
            names = [name for name in stage if name in wanted]
            if "prometheus" in names:
                run.configure_prometheus(self.chart)
            for name in names:
                run.start(name)
            if "controller-manager" in names:  # it creates the service accounts that bootstrap waits for
                run.bootstrap(self.chart)
            for name in names:
                run.await_ready(name)


def _known(components: Sequence[str]) -> Sequence[str]:
    if unknown := set(components) - set(COMPONENTS):
        raise ValueError(f"unknown components {', '.join(sorted(unknown))}; there are {', '.join(COMPONENTS)}")
    return components


def recorded_gpus(directory: Path) -> int:
    """Return the number of GPUs of the cluster's last `up` in `directory`, or the default number."""
    current = state.load(Layout(directory.absolute()).state)
    return current.simulated_gpus if current else DEFAULT_GPUS
