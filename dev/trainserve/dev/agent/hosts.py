"""Names: the /etc/hosts of every pod, and when to write it again."""

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Object = dict[str, Any]

DOMAIN = "svc.cluster.local"
LOCAL = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"


def hostname(pod: Object) -> str:
    """The name a pod has for itself (pkg/kubelet: `hostname`, else its own name, at most 63 characters)."""
    name: str = pod["spec"].get("hostname") or pod["metadata"]["name"]
    return name[:63].rstrip("-.")


def service_lines(services: Iterable[Object], pods: Iterable[tuple[Object, str]], namespace: str) -> str:
    """The lines that pods of one namespace share: Services by address, peers (pod, its address) by headless Service.

    Names have the forms `svc`, `svc.ns`, `svc.ns.svc` and `svc.ns.svc.cluster.local`; peers also with their hostname
    before it.
    """
    lines = []
    # By the first label selected: a thousand headless Services cost each pod no more than its own few labels.
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
    """The lines of one pod alone: localhost, its own names, its hostAliases."""
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
    """Replace a file's content but keep the file: it is bound into running containers."""
    data = content.encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.pwrite(descriptor, data, 0)
        os.ftruncate(descriptor, len(data))
    finally:
        os.close(descriptor)


class HostsFiles:
    """The hosts files of the pods that run now; writes those whose content has changed."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[Path, Object, str]] = {}
        self._written: dict[str, str] = {}
        self.cost_seconds = 0.0

    def add(self, path: Path, pod: Object, address: str, shared: str) -> None:
        """Write a pod's file, and keep it current from now on."""
        uid = pod["metadata"]["uid"]
        self._files[uid] = (path, pod, address)
        self._write(uid, shared)

    def remove(self, uid: str) -> None:
        """Forget a pod that has ended."""
        self._files.pop(uid, None)
        self._written.pop(uid, None)

    def update(self, services: list[Object], pods: list[tuple[Object, str]]) -> None:
        """Bring every file up to date."""
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
