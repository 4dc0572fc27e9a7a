"""The Pod Security Standards' profile `restricted`, with the `baseline` that it includes, as a pure check.

After https://kubernetes.io/docs/concepts/security/pod-security-standards/ (Kubernetes 1.36), for Linux.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]

VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}


def violations(pod: Object) -> list[str]:
    """Return the profile's violations in a pod's spec, each with its path."""
    return [*_of_pod(pod), *(said for name, each in _containers(pod) for said in _of_container(name, each, pod))]


def _containers(pod: Object) -> Iterator[tuple[str, Object]]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for each in pod.get(kind) or []:
            yield f"{kind}.{each['name']}", each


def _of_pod(pod: Object) -> Iterator[str]:
    context = pod.get("securityContext") or {}
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield f"{field} is set"
    for volume in pod.get("volumes") or []:
        if kinds := volume.keys() - {"name"} - VOLUMES:
            yield f"volume {volume['name']} is of {', '.join(kinds)}"
    for sysctl in context.get("sysctls") or []:
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctl {sysctl['name']}"
    yield from _of_context("pod", context)


def _of_container(name: str, container: Object, pod: Object) -> Iterator[str]:
    context, of_pod = container.get("securityContext") or {}, pod.get("securityContext") or {}
    capabilities = context.get("capabilities") or {}
    if context.get("privileged"):
        yield f"{name}: privileged"
    if context.get("procMount", "Default") != "Default":
        yield f"{name}: procMount"
    if context.get("allowPrivilegeEscalation") is not False:
        yield f"{name}: allowPrivilegeEscalation is not false"
    if "ALL" not in (capabilities.get("drop") or []):
        yield f"{name}: capabilities.drop has no ALL"
    if set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}:
        yield f"{name}: capabilities.add"
    if not context.get("runAsNonRoot", of_pod.get("runAsNonRoot")):
        yield f"{name}: runAsNonRoot is not true"
    profile = context.get("seccompProfile") or of_pod.get("seccompProfile") or {}
    if profile.get("type") not in ("RuntimeDefault", "Localhost"):
        yield f"{name}: seccompProfile"
    if any(port.get("hostPort") for port in container.get("ports") or []):
        yield f"{name}: hostPort"
    probes = [container.get(f"{kind}Probe") for kind in ("liveness", "readiness", "startup")]
    handlers = [*probes, *(container.get("lifecycle") or {}).values()]
    if any((each or {}).get(kind, {}).get("host") for each in handlers for kind in ("httpGet", "tcpSocket")):
        yield f"{name}: a probe or hook of another host"
    yield from _of_context(name, context)


def _of_context(name: str, context: Object) -> Iterator[str]:
    if context.get("runAsUser") == 0:
        yield f"{name}: runAsUser is 0"
    options = context.get("seLinuxOptions") or {}
    if options.get("type", "") not in SELINUX_TYPES or options.get("user") or options.get("role"):
        yield f"{name}: seLinuxOptions"
    if (context.get("appArmorProfile") or {}).get("type", "RuntimeDefault") not in ("RuntimeDefault", "Localhost"):
        yield f"{name}: appArmorProfile"
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield f"{name}: hostProcess"
