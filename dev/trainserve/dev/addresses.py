"""Loopback addresses and ports of the clusters on this machine, so that no two clusters share one.

Every cluster of this machine has its own number, which determines a range of Service addresses, a range of pod
addresses and a block of ports. One file, protected by a lock, records the owner of each number; a number becomes free
when its cluster's folder is deleted.
"""

from __future__ import annotations

import ipaddress
import json
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trainserve.dev.locks import held

SERVICES = ipaddress.IPv4Network("127.96.0.0/12")
PODS = ipaddress.IPv4Network("127.64.0.0/12")
CLUSTERS = 256
"""Maximum number of clusters at a time; each has 4096 Service addresses and 4096 pod addresses."""
FIRST_PORT = 20000
"""First port, chosen below the range of Linux's ephemeral ports (32768 and up)."""
PORTS = (
    "etcd",
    "etcd-peer",
    "apiserver",
    "controller-manager",
    "scheduler",
    "scheduler-plain",
    "kubelet",
    "metrics",
    "liveness",
    "prometheus",
)
"""Ports of a cluster, in the order of its block. Append only: clusters of earlier releases use the first ones."""
BLOCK = 16


class AddressesUnavailable(Exception):
    """No number is free, or this cluster's number belongs to another cluster; the message says what to remove."""


@dataclass(frozen=True)
class Addresses:
    """The loopback addresses and ports of one cluster."""

    number: int
    ports: Mapping[str, int]

    @property
    def services(self) -> ipaddress.IPv4Network:
        """The range from which Services get their clusterIP."""
        return _share(SERVICES, self.number)

    @property
    def pods(self) -> ipaddress.IPv4Network:
        """The range from which pods get their addresses."""
        return _share(PODS, self.number)

    @property
    def kubernetes_service(self) -> str:
        """The clusterIP of Service `default/kubernetes`: the first of the range, by Kubernetes' rule."""
        return str(self.services[1])


def _share(network: ipaddress.IPv4Network, number: int) -> ipaddress.IPv4Network:
    size = network.num_addresses // CLUSTERS
    return ipaddress.IPv4Network(
        (int(network.network_address) + number * size, network.max_prefixlen - size.bit_length() + 1)
    )


def is_free(port: int) -> bool:
    """Return whether a server could listen on that loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: ignores closing connections
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def block(number: int) -> dict[str, int]:
    """Return the ports of the cluster with that number, by name."""
    return {name: FIRST_PORT + number * BLOCK + offset for offset, name in enumerate(PORTS)}


def claim(register: Path, folder: Path, number: int | None, free: Callable[[int], bool] = is_free) -> Addresses:
    """Give the cluster in `folder` a number with free ports, or confirm its existing `number`.

    `register` is the file of this machine's clusters. Raises AddressesUnavailable.
    """
    with held(register.with_suffix(".lock")):
        owners = _read(register)
        if number is not None:
            owner = owners.setdefault(number, folder)
            if owner != folder:
                raise AddressesUnavailable(
                    f"{folder} was cluster {number}, which is now {owner}: remove one of the two folders"
                )
        else:
            usable = (each for each in range(CLUSTERS) if each not in owners and all(map(free, block(each).values())))
            number = next((each for each, owner in owners.items() if owner == folder), None)
            if number is None:
                number = next(usable, None)
            if number is None:
                raise AddressesUnavailable(f"all {CLUSTERS} clusters of {register} are taken: remove their folders")
            owners[number] = folder
        _write(register, owners)
    return Addresses(number, block(number))


def moved(addresses: Addresses, taken: set[str], free: Callable[[int], bool] = is_free) -> Addresses:
    """Return `addresses` with new ports for the names in `taken`, on whose ports other programs listen."""
    usable = (port for port in range(FIRST_PORT + CLUSTERS * BLOCK, 32768) if free(port))
    in_use = set(addresses.ports.values())
    others = (port for port in usable if port not in in_use)
    return Addresses(
        addresses.number, {name: next(others) if name in taken else port for name, port in addresses.ports.items()}
    )


def _read(register: Path) -> dict[int, Path]:
    try:
        entries = json.loads(register.read_text())
    except FileNotFoundError:
        return {}
    owners = {int(number): Path(folder) for number, folder in entries.items()}
    return {number: folder for number, folder in owners.items() if folder.is_dir()}


def _write(register: Path, owners: Mapping[int, Path]) -> None:
    partial = register.with_name(f".{register.name}.{os.getpid()}")
    partial.write_text(json.dumps({str(number): str(folder) for number, folder in sorted(owners.items())}, indent=1))
    partial.rename(register)
