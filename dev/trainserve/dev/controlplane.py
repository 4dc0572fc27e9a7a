"""Command lines of the control plane's programs. Pure: addresses and files in, argument lists out.

Kubernetes 1.20 up to the newest release support every flag here, except for a few that are selected by version.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainserve.dev.addresses import Addresses
from trainserve.dev.binaries import Binaries
from trainserve.dev.pki import Pki

LOOPBACK = "127.0.0.1"
WITHOUT_INSECURE_PORT = (1, 24)
"""The release that removed --port from the controller manager and the scheduler; earlier ones open that port."""
SCHEDULER_CONFIG_V1 = (1, 25)
SCHEDULER_CONFIG_V1BETA2 = (1, 22)
"""The first releases with these versions of kubescheduler.config.k8s.io; earlier releases have v1beta1."""
DISABLED_CONTROLLERS = ("endpoint", "endpointslice", "endpointslicemirroring")
"""Disabled because Endpoints refuse loopback addresses, which pods have here; the node itself finds Services' pods."""
NODE_GRACE = "50s"
"""Time without a heartbeat after which a node counts as lost: Kubernetes' default since 1.32. It is longer than the gap
in every node's heartbeats during an outage of the API server and the controllers' back-off after it."""


def etcd(binaries: Binaries, pki: Pki, addresses: Addresses, data: Path) -> list[str]:
    """Return the command of etcd as a single member, which accepts only clients with a certificate of this cluster.

    fsync is disabled if etcd supports that: the page cache survives the death of any process, so that only a crash of
    the machine could lose a development cluster's data.
    """
    client, peer = f"https://{LOOPBACK}:{addresses.ports['etcd']}", f"https://{LOOPBACK}:{addresses.ports['etcd-peer']}"
    certificate, key = pki.certificate("etcd"), pki.key("etcd")
    return [
        str(binaries.program("etcd")),
        f"--data-dir={data}",
        "--name=trainserve-dev",
        "--heartbeat-interval=20",
        "--election-timeout=200",  # milliseconds; a single member has no peers, but still waits this long
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=trainserve-dev={peer}",
        "--client-cert-auth",
        f"--trusted-ca-file={pki.ca}",
        f"--cert-file={certificate}",
        f"--key-file={key}",
        "--peer-client-cert-auth",
        f"--peer-trusted-ca-file={pki.ca}",
        f"--peer-cert-file={certificate}",
        f"--peer-key-file={key}",
        "--logger=zap",
        "--log-level=warn",
        *(["--unsafe-no-fsync"] if binaries.etcd_skips_fsync else []),
    ]


def apiserver(binaries: Binaries, pki: Pki, addresses: Addresses) -> list[str]:
    """Return the command of kube-apiserver with RBAC, static control plane tokens and signed service account tokens."""
    return [
        str(binaries.program("kube-apiserver")),
        f"--bind-address={LOOPBACK}",
        f"--secure-port={addresses.ports['apiserver']}",
        f"--advertise-address={LOOPBACK}",
        "--endpoint-reconciler-type=none",  # Endpoints refuse the loopback address that it would write
        f"--etcd-servers=https://{LOOPBACK}:{addresses.ports['etcd']}",
        f"--etcd-cafile={pki.ca}",
        f"--etcd-certfile={pki.certificate('etcd')}",
        f"--etcd-keyfile={pki.key('etcd')}",
        f"--service-cluster-ip-range={addresses.services}",
        f"--tls-cert-file={pki.certificate('apiserver')}",
        f"--tls-private-key-file={pki.key('apiserver')}",
        f"--client-ca-file={pki.ca}",
        # No front proxy has such a certificate, but without these flags their other readers keep logging errors.
        f"--requestheader-client-ca-file={pki.ca}",
        "--requestheader-allowed-names=trainserve-dev-front-proxy",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--token-auth-file={pki.tokens}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki.service_accounts}",
        f"--service-account-signing-key-file={pki.service_accounts}",
        f"--kubelet-client-certificate={pki.certificate('kubelet-client')}",
        f"--kubelet-client-key={pki.key('kubelet-client')}",
        "--kubelet-preferred-address-types=InternalIP",
        "--allow-privileged=true",
    ]


def controller_manager(binaries: Binaries, pki: Pki, addresses: Addresses, kubeconfig: Path) -> list[str]:
    """Return the command of kube-controller-manager without the controllers that cannot work on loopback."""
    return [
        str(binaries.program("kube-controller-manager")),
        *_client("controller-manager", binaries, addresses, kubeconfig),
        f"--kubeconfig={kubeconfig}",
        "--leader-elect=false",
        f"--controllers=*,{','.join(f'-{name}' for name in DISABLED_CONTROLLERS)}",
        "--use-service-account-credentials",
        f"--service-account-private-key-file={pki.service_accounts}",
        f"--root-ca-file={pki.ca}",
        f"--cluster-signing-cert-file={pki.ca}",
        f"--cluster-signing-key-file={pki.ca_key}",
        "--node-monitor-period=2s",
        f"--node-monitor-grace-period={NODE_GRACE}",
        "--pvclaimbinder-sync-period=1s",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    ]


def scheduler(binaries: Binaries, addresses: Addresses, kubeconfig: Path, config: Path) -> list[str]:
    """Return the command of kube-scheduler; `config` is the file with the `scheduler_config`."""
    return [
        str(binaries.program("kube-scheduler")),
        *_client("scheduler", binaries, addresses, kubeconfig),
        f"--config={config}",
    ]


def scheduler_config(version: tuple[int, int], addresses: Addresses, kubeconfig: Path) -> dict[str, Any]:
    """Return the KubeSchedulerConfiguration: high API request rates, and quick retries of pods that did not fit.

    Fields: https://kubernetes.io/docs/reference/config-api/kube-scheduler-config.v1/ (older versions likewise).
    """
    api, plain_http = "v1" if version >= SCHEDULER_CONFIG_V1 else "v1beta2", {}
    if version < SCHEDULER_CONFIG_V1BETA2:
        # These releases cannot disable the two listeners, which by default bind every address of the machine.
        address = f"{LOOPBACK}:{addresses.ports['scheduler-plain']}"
        api, plain_http = "v1beta1", {"healthzBindAddress": address, "metricsBindAddress": address}
    return {
        "apiVersion": f"kubescheduler.config.k8s.io/{api}",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": str(kubeconfig), "qps": 1000, "burst": 1000},
        "leaderElection": {"leaderElect": False},
        "podInitialBackoffSeconds": 1,
        "podMaxBackoffSeconds": 1,
        **plain_http,
    }


def _client(component: str, binaries: Binaries, addresses: Addresses, kubeconfig: Path) -> list[str]:
    return [
        f"--bind-address={LOOPBACK}",
        f"--secure-port={addresses.ports[component]}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        *(["--port=0"] if binaries.version < WITHOUT_INSECURE_PORT else []),
    ]
