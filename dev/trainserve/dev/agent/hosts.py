"""Name resolution: every pod's /etc/hosts, rewritten when its content changes."""

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Object = dict[str, Any]

DOMAIN = "svc.cluster.local"
LOCAL = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"


def hostname(pod: Object) -> str:
    """Return a pod's host name: `spec.hostname`, else its name, at most 63 characters (as in pkg/kubelet)."""
    name: str = pod["spec"].get("hostname") or pod["metadata"]["name"]
    return name[:63].rstrip("-.")


def service_lines(services: Iterable[Object], pods: Iterable[tuple[Object, str]], namespace: str) -> str:
    """Return the lines that pods of one namespace share: Services, and the pods that headless Services select.

    `pods` are pairs of pod and address. Names have the forms `svc`, `svc.ns`, `svc.ns.svc` and
    `svc.ns.svc.cluster.local`; for a pod also with its hostname in front.
    """
    lines = []
    # Keyed by the selector's first label: with a thousand headless Services, a pod looks up only its own few labels.
    headless: dict[tuple[str, str, str], list[Object]] = {}
    for service in services:
        address, metadata, selector = (
            service["spec"].get("clusterIP"),
            service["metadata"],
            service["spec"].get("selector"),
        )
        if address == "None" and selector:
            headless.setdefault((metadata["namespace"], *next(iter(selector.items()))), []).append(service)
        elif address and address != "None":
            lines.append(f"{address} {' '.join(_forms(metadata['name'], metadata['namespace'], namespace))}")
    for pod, address in pods:
        spec, home, labels = pod["spec"], pod["metadata"]["namespace"], pod["metadata"].get("labels") or {}
        for service in (each for label in labels.items() for each in headless.get((home, *label), ())):
            name = service["metadata"]["name"]
            if not selects(service["spec"]["selector"], labels):
                continue
            names = _forms(name, home, namespace)
            if spec.get("subdomain") == name and spec.get("hostname"):
                names = [f"{spec['hostname']}.{form}" for form in names] + names
            lines.append(f"{address} {' '.join(names)}")
    return "".join(f"{line}\n" for line in lines)


def own_lines(pod: Object, address: str) -> str:
    """Return the lines specific to one pod: localhost, its own names, its hostAliases."""
    spec, metadata = pod["spec"], pod["metadata"]
    names = [hostname(pod)]
    if subdomain := spec.get("subdomain"):
        names.insert(0, f"{names[0]}.{subdomain}.{metadata['namespace']}.{DOMAIN}")
        names.append(f"{names[1]}.{subdomain}")
    if metadata["name"] not in names:
        names.append(metadata["name"])
    aliases = [f"{each['ip']} {' '.join(each.get('hostnames') or ())}\n" for each in spec.get("hostAliases") or ()]
    return LOCAL + f"{address} {' '.join(names)}\n" + "".join(aliases)


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Return whether a Service's selector matches; an empty one matches nothing."""
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def write_in_place(path: Path, content: str) -> None:
    """Replace a file's content but keep its inode, which is bind-mounted into running containers."""
    data = content.encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.pwrite(descriptor, data, 0)
        os.ftruncate(descriptor, len(data))
    finally:
        os.close(descriptor)


class HostsFiles:
    """The hosts files of running pods; rewrites those whose content has changed."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[Path, Object, str]] = {}
        self._written: dict[str, str] = {}
        self.cost_seconds = 0.0

    def add(self, path: Path, pod: Object, address: str, shared: str) -> None:
        """Write a pod's file, and include it in later updates."""
        uid = pod["metadata"]["uid"]
        self._files[uid] = (path, pod, address)
        self._write(uid, shared)

    def remove(self, uid: str) -> None:
        """Forget a pod that has ended."""
        self._files.pop(uid, None)
        self._written.pop(uid, None)

    def update(self, services: list[Object], pods: list[tuple[Object, str]]) -> None:
        """Update every file."""
        began = time.monotonic()
        shared: dict[str, str] = {}
        for uid, (_, pod, _) in self._files.items():
            namespace = pod["metadata"]["namespace"]
            if namespace not in shared:
                shared[namespace] = service_lines(services, pods, namespace)
            self._write(uid, shared[namespace])
        self.cost_seconds = time.monotonic() - began

    def _write(self, uid: str, shared: str) -> None:
        path, pod, address = self._files[uid]
        content = own_lines(pod, address) + shared
        if self._written.get(uid) != content:
            write_in_place(path, content)
            self._written[uid] = content


def _forms(service: str, home: str, namespace: str) -> list[str]:
    short = [service] if home == namespace else []
    return [*short, f"{service}.{home}", f"{service}.{home}.svc", f"{service}.{home}.{DOMAIN}"]
