"""The cluster's keys and certificates, made once: the certificate authority, who serves, who calls, and the key that
signs service account tokens. All keys are ECDSA on P-256, which Kubernetes accepts everywhere and which take a
millisecond to make.
"""

from __future__ import annotations

import datetime
import ipaddress
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID = datetime.timedelta(days=3650)
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
        """The certificate of `apiserver`, `etcd`, `kubelet` or `kubelet-client`."""
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        """The private key that belongs to `certificate(name)`."""
        return self.folder / f"{name}.key"

    def token(self, user: str) -> str:
        """The static token of one of `USERS`."""
        name = USERS[user][0]
        rows = (line.split(",") for line in self.tokens.read_text().splitlines())
        return next(row[0] for row in rows if row[1] == name)


def ensure(folder: Path, service_address: str) -> Pki:
    """The cluster's keys, made now if `folder` is absent; `service_address` is the clusterIP of Service `kubernetes`.

    They are made in a folder beside and renamed into place, so a kill leaves all of them or none.
    """
    if not folder.exists():
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700, parents=True)
        _write_all(Pki(partial), service_address)
        partial.rename(folder)
    return Pki(folder)


def _write_all(pki: Pki, service_address: str) -> None:
    ca_key = _key(pki.ca_key)
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "trainserve-dev")])
    ca = _builder(authority, authority, ca_key, x509.BasicConstraints(ca=True, path_length=None)).sign(
        ca_key, hashes.SHA256()
    )
    pki.ca.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    _key(pki.service_accounts)
    loopback = ["127.0.0.1"]
    for name, common_name, organization, names in (
        ("apiserver", "kube-apiserver", "", [*API_SERVER_NAMES, *loopback, service_address]),
        ("etcd", "etcd", "", ["localhost", *loopback]),
        ("kubelet", "system:node:trainserve-dev", "system:nodes", ["localhost", *loopback]),
        ("kubelet-client", "kube-apiserver-kubelet-client", "system:masters", []),
    ):
        key = _key(pki.key(name))
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
        if organization:
            subject.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
        constraints = x509.BasicConstraints(ca=False, path_length=None)
        builder = _builder(x509.Name(subject), authority, key, constraints).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(_general_names(names)), critical=False)
        certificate = builder.sign(ca_key, hashes.SHA256())
        pki.certificate(name).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    rows = [f"{secrets.token_hex(24)},{user},{user},{group}" for user, group in USERS.values()]
    _write_private(pki.tokens, ("\n".join(rows) + "\n").encode())


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    _write_private(path, pem)
    return key


def _write_private(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, constraints: x509.BasicConstraints
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))  # clocks differ, most of all in virtual machines
        .not_valid_after(now + VALID)
        .add_extension(constraints, critical=True)
    )


def _general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    def general_name(name: str) -> x509.GeneralName:
        try:
            return x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            return x509.DNSName(name)

    return [general_name(name) for name in names]
