"""State of a development cluster between commands: `cluster.json` and its kubeconfigs."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trainserve.dev.addresses import Addresses, block
from trainserve.dev.process import Process

CONTEXT = "trainserve-dev"
SYSTEM_NAMESPACE = "trainserve-system"
"""Namespace of the operator's ServiceAccount and its lease."""
DEFAULT_GPUS = 2


@dataclass
class State:
    """The content of `cluster.json`."""

    addresses: Addresses
    processes: dict[str, Process] = field(default_factory=dict)
    """Processes by component; one that died stays here until it is restarted or `down` removes it."""
    starting: tuple[str, tuple[str, ...]] | None = None
    """Component and command being started: set before and cleared after, so that a kill in between is detected."""
    simulated_gpus: int = DEFAULT_GPUS


def load(path: Path) -> State | None:
    """Return the state in `path`, or None if the file does not exist."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return State(
        # A cluster of an earlier release lacks ports that later releases added.
        addresses=Addresses(content["number"], {**block(content["number"]), **content["ports"]}),
        processes={
            name: Process(each["pid"], each["started"], tuple(each["command"]))
            for name, each in content["processes"].items()
        },
        starting=(content["starting"][0], tuple(content["starting"][1])) if content["starting"] else None,
        simulated_gpus=content["simulatedGpus"],
    )


def save(path: Path, state: State) -> None:
    """Write the state to `path` atomically."""
    addresses = state.addresses
    content = {
        "number": addresses.number,
        "ports": dict(addresses.ports),
        "server": f"https://127.0.0.1:{addresses.ports['apiserver']}",
        "serviceAddresses": str(addresses.services),
        "podAddresses": str(addresses.pods),
        "simulatedGpus": state.simulated_gpus,
        "starting": state.starting,
        "processes": {name: asdict(process) for name, process in state.processes.items()},
    }
    write(path, json.dumps(content, indent=1) + "\n")


def kubeconfig(server: str, certificate_authority: bytes, user: str, token: str) -> dict[str, Any]:
    """Return a self-contained kubeconfig (client-go's v1 Config) of one user."""
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(certificate_authority).decode()}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": CONTEXT, "cluster": cluster}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": user, "namespace": "default"}}],
        "current-context": CONTEXT,
    }


def write(path: Path, content: str) -> None:
    """Write a file atomically, readable only by its owner; leave a file that already has this content untouched."""
    if path.exists() and path.read_text() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    partial.write_text(content)
    partial.rename(path)
