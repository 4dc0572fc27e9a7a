"""The cluster's keys and certificates, created once.

They are those of the authority, of servers and of clients, and the key that signs service account tokens. All keys are
ECDSA on P-256, which Kubernetes accepts everywhere and which takes a millisecond to generate.
"""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

ORGANIZATION = "trainserve-dev"
"""Organization in certificates of users without a group; RBAC grants it no rights."""
API_SERVER_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
USERS = {
    "admin": ("trainserve-dev-admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
}
"""The holders of static tokens: user and group; the RBAC roles of the last two are part of every API server."""


class Pki:
    """The files of a cluster's `pki` folder (mode 0700)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca, self.ca_key = folder / "ca.crt", folder / "ca.key"
        self.service_accounts = folder / "service-accounts.key"
        self.tokens = folder / "tokens.csv"

    def certificate(self, name: str) -> Path:
        """Return the path of the certificate of `apiserver`, `etcd`, `kubelet` or `kubelet-client`."""
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        """Return the path of the private key of `certificate(name)`."""
        return self.folder / f"{name}.key"

    def token(self, user: str) -> str:
        """Return the static token of one of `USERS`."""
        name = USERS[user][0]
        rows = (line.split(",") for line in self.tokens.read_text().splitlines())
        return next(row[0] for row in rows if row[1] == name)


def ensure(folder: Path, service_address: str) -> Pki:
    """Return the cluster's keys, created if `folder` is absent; `service_address` is Service `kubernetes`' clusterIP.

    They are created in a temporary folder that is then renamed, so that a kill leaves all of them or none.
    """
    if not folder.exists():
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700, parents=True)
        _write_all(Pki(partial), service_address)
        partial.rename(folder)
    return Pki(folder)


def _write_all(pki: Pki, service_address: str) -> None:
    authority = trustme.CA(organization_name=ORGANIZATION, organization_unit_name="authority")
    pki.ca.write_bytes(authority.cert_pem.bytes())
    _write_private(pki.ca_key, authority.private_key_pem.bytes())
    _write_private(pki.service_accounts, _key())
    loopback = ["127.0.0.1"]
    for name, common_name, group, names in (
        ("apiserver", "kube-apiserver", "", [*API_SERVER_NAMES, *loopback, service_address]),
        ("etcd", "etcd", "", ["localhost", *loopback]),
        ("kubelet", "system:node:trainserve-dev", "system:nodes", ["localhost", *loopback]),
        # A client needs no names, but trustme marks the list of names critical, and Go refuses an empty critical list.
        ("kubelet-client", "kube-apiserver-kubelet-client", "system:masters", ["kube-apiserver-kubelet-client"]),
    ):
        issued = authority.issue_cert(
            *names, common_name=common_name, organization_name=group or ORGANIZATION, organization_unit_name=name
        )
        pki.certificate(name).write_bytes(issued.cert_chain_pems[0].bytes())
        _write_private(pki.key(name), issued.private_key_pem.bytes())
    rows = [f"{secrets.token_hex(24)},{user},{user},{group}" for user, group in USERS.values()]
    _write_private(pki.tokens, ("\n".join(rows) + "\n").encode())


def _key() -> bytes:
    """Return a new key without a certificate, in PEM."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _write_private(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
