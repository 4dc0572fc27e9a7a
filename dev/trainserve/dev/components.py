"""The components of a cluster: commands, ports and readiness checks."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from trainserve.dev import controlplane, pki, prometheus
from trainserve.dev.addresses import Addresses
from trainserve.dev.binaries import Binaries, default_cache
from trainserve.dev.health import get
from trainserve.dev.pki import Pki
from trainserve.dev.prometheus.config import Surroundings
from trainserve.dev.state import SYSTEM_NAMESPACE, kubeconfig, write

STAGES = (("etcd",), ("apiserver",), ("controller-manager", "scheduler", "agent"), ("operator", "prometheus"))
"""Components in the order of starting; those of one stage start together."""
STORE_SECRET = "trainserve-store"  # noqa: S105 (its name)
"""A Secret that a namespace may have, for training pods whose data needs credentials."""
SHARES = {
    name: {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": cpu, "memory": memory}}
    for name, cpu, memory in (
        ("trainer", "2", "4Gi"),
        ("triton", "2", "4Gi"),
        ("fetch", "500m", "512Mi"),
        ("probe", "500m", "512Mi"),
        ("resolve", "500m", "512Mi"),
        ("tune", "1", "1Gi"),
    )
}
"""The chart's `pods.resources`, except for requests: this machine is the only node, and many small pods must fit."""
COMPONENTS = tuple(component for stage in STAGES for component in stage)
PORTS = {
    "etcd": ("etcd", "etcd-peer"),
    "apiserver": ("apiserver",),
    "controller-manager": ("controller-manager",),
    "scheduler": ("scheduler", "scheduler-plain"),
    "agent": ("kubelet",),
    "operator": ("metrics", "liveness"),
    "prometheus": ("prometheus",),
}


def with_needs(components: Iterable[str]) -> list[str]:
    """Return the components and their dependencies, in the order of starting.

    Every component but etcd needs the API server, which needs etcd.
    """
    wanted = set(components)
    if wanted - {"etcd"}:
        wanted |= {"etcd", "apiserver"}
    return [component for component in COMPONENTS if component in wanted]


@dataclass(frozen=True)
class Component:
    """Command, ports and readiness check of one component."""

    command: list[str]
    ready: Callable[[], bool]
    environment: dict[str, str] = field(default_factory=dict)
    """Variables in addition to the starter's own environment."""


class Layout:
    """The files of a cluster's folder (docs/contracts.md, "The development cluster")."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "cluster.json"
        self.lock = folder / "cluster.lock"
        self.kubeconfig = folder / "kubeconfig"
        self.operator_kubeconfig = folder / "operator.kubeconfig"
        self.pki = folder / "pki"
        self.etcd = folder / "etcd"
        self.store = folder / "store"
        self.prometheus = folder / "prometheus"

    def log(self, component: str) -> Path:
        """Return the path of a component's log."""
        return self.folder / "logs" / f"{component}.log"

    def kubeconfig_of(self, component: str) -> Path:
        """Return the path of a control plane component's kubeconfig."""
        return self.folder / "control-plane" / f"{component}.kubeconfig"

    @property
    def prometheus_config(self) -> Path:
        """The path of Prometheus' configuration; its rule files are in the same folder."""
        return self.prometheus / "prometheus.yml"

    @property
    def prometheus_token(self) -> Path:
        """The path of the bearer token that Prometheus sends to the API server."""
        return self.prometheus / "token"

    @property
    def scheduler_config(self) -> Path:
        """The path of the scheduler's configuration."""
        return self.folder / "control-plane" / "scheduler.json"


class Components:
    """The components of one cluster; writes the files to which their commands refer."""

    def __init__(self, layout: Layout, addresses: Addresses, binaries: Binaries, simulated_gpus: int) -> None:
        self.layout, self.addresses, self.binaries = layout, addresses, binaries
        self.simulated_gpus = simulated_gpus
        self.pki: Pki = pki.ensure(layout.pki, addresses.kubernetes_service)
        self.server = f"https://127.0.0.1:{addresses.ports['apiserver']}"

    def write_files(self) -> None:
        """Write the kubeconfigs of the administrator and the control plane, and the scheduler's settings."""
        layout = self.layout
        for user, path in (
            ("admin", layout.kubeconfig),
            ("controller-manager", layout.kubeconfig_of("controller-manager")),
            ("scheduler", layout.kubeconfig_of("scheduler")),
        ):
            self.write_kubeconfig(path, user, self.pki.token(user))
        settings = controlplane.scheduler_config(
            self.binaries.version, self.addresses, layout.kubeconfig_of("scheduler")
        )
        write(layout.scheduler_config, json.dumps(settings, indent=1))
        layout.store.mkdir(exist_ok=True)

    def write_kubeconfig(self, path: Path, user: str, token: str) -> None:
        """Write a kubeconfig for this cluster."""
        write(path, yaml.safe_dump(kubeconfig(self.server, self.pki.ca.read_bytes(), user, token), sort_keys=False))

    def component(self, name: str) -> Component:
        """Return the command and readiness check of the component with that name."""
        build: dict[str, Callable[[], Component]] = {
            "etcd": self._etcd,
            "apiserver": self._apiserver,
            "controller-manager": self._controller_manager,
            "scheduler": self._scheduler,
            "agent": self._agent,
            "operator": self._operator,
            "prometheus": self._prometheus,
        }
        return build[name]()

    def _etcd(self) -> Component:
        command = controlplane.etcd(self.binaries, self.pki, self.addresses, self.layout.etcd)
        certificate = (self.pki.certificate("etcd"), self.pki.key("etcd"))
        url = f"https://127.0.0.1:{self.addresses.ports['etcd']}/health"
        return Component(command, lambda: get(url, authority=self.pki.ca, certificate=certificate) is not None)

    def _apiserver(self) -> Component:
        command = controlplane.apiserver(self.binaries, self.pki, self.addresses)
        return Component(command, lambda: self._ask_api("/readyz") is not None)

    def _controller_manager(self) -> Component:
        own = self.layout.kubeconfig_of("controller-manager")
        command = controlplane.controller_manager(self.binaries, self.pki, self.addresses, own)
        url = f"https://127.0.0.1:{self.addresses.ports['controller-manager']}/healthz"
        return Component(command, lambda: get(url) is not None)

    def _scheduler(self) -> Component:
        own = self.layout.kubeconfig_of("scheduler")
        command = controlplane.scheduler(self.binaries, self.addresses, own, self.layout.scheduler_config)
        url = f"https://127.0.0.1:{self.addresses.ports['scheduler']}/healthz"
        return Component(command, lambda: get(url) is not None)

    def _agent(self) -> Component:
        command = [sys.executable, "-m", "trainserve.dev.agent"]
        command += ["--kubeconfig", str(self.layout.kubeconfig), "--directory", str(self.layout.folder)]
        command += ["--simulated-gpus", str(self.simulated_gpus), "--pod-cidr", str(self.addresses.pods)]
        command += ["--kubelet-port", str(self.addresses.ports["kubelet"])]
        for folder in (Path(sys.executable).parent, default_cache() / "bin"):  # programs that images would contain
            command += ["--path-prepend", str(folder)]
        url = f"https://127.0.0.1:{self.addresses.ports['kubelet']}/healthz"
        return Component(command, lambda: get(url) is not None and node_is_ready(self._ask_api("/api/v1/nodes")))

    def _ask_api(self, path: str) -> bytes | None:
        return get(f"{self.server}{path}", authority=self.pki.ca, token=self.pki.token("admin"))

    def _operator(self) -> Component:
        liveness = f"http://127.0.0.1:{self.addresses.ports['liveness']}/healthz"
        kopf = [sys.executable, "-m", "kopf", "run", "-m", "trainserve.operator.main", "--all-namespaces"]
        environment = {
            "KUBECONFIG": str(self.layout.operator_kubeconfig),
            "TRAINSERVE_STORE": f"file://{self.layout.store}",
            "TRAINSERVE_STORE_SECRET": STORE_SECRET,
            "TRAINSERVE_METRICS_ADDRESS": f"127.0.0.1:{self.addresses.ports['metrics']}",
            "TRAINSERVE_LEASE_NAMESPACE": SYSTEM_NAMESPACE,
            "TRAINSERVE_POD_RESOURCES": json.dumps(SHARES),
            # NetworkPolicies are created as in any cluster, but this machine's network does not enforce them.
            "TRAINSERVE_NETWORK_POLICIES": json.dumps({"operator": [], "prometheus": []}),
        }
        return Component([*kopf, f"--liveness={liveness}"], lambda: get(liveness) is not None, environment)

    def _prometheus(self) -> Component:
        command = prometheus.command(
            prometheus.prepare_discovering() / "prometheus",
            self.layout.prometheus_config,
            self.layout.prometheus / "data",
            self.addresses.ports["prometheus"],
        )
        url = f"http://127.0.0.1:{self.addresses.ports['prometheus']}/-/ready"
        return Component(command, lambda: get(url) is not None)

    def prometheus_surroundings(self) -> Surroundings:
        """Return the facts of this cluster that Prometheus' configuration needs."""
        operator = f"127.0.0.1:{self.addresses.ports['metrics']}"
        return Surroundings(self.server, self.pki.ca, self.layout.prometheus_token, operator)


def node_is_ready(nodes: bytes | None) -> bool:
    """Return whether any node of `nodes`, a NodeList in JSON, is ready; False for None."""
    listed = json.loads(nodes)["items"] if nodes else []
    conditions = [each for node in listed for each in node["status"].get("conditions", [])]
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
