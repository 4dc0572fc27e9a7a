"""The cluster's keys and certificates."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from trainserve.dev import pki

CERTIFICATES = ("apiserver", "etcd", "kubelet", "kubelet-client")


@pytest.fixture
def keys(tmp_path: Path) -> pki.Pki:
    return pki.ensure(tmp_path / "pki", "127.96.16.1")


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_the_api_server_is_known_by_every_name_that_a_client_may_use(keys: pki.Pki) -> None:
    names = load(keys.certificate("apiserver")).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(address) for address in names.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "127.96.16.1"}
    assert set(names.get_values_for_type(x509.DNSName)) == {
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    }


@pytest.mark.parametrize("name", CERTIFICATES)
def test_every_certificate_is_signed_by_the_authority_and_fits_its_key(keys: pki.Pki, name: str) -> None:
    certificate = load(keys.certificate(name))
    certificate.verify_directly_issued_by(load(keys.ca))
    ssl.create_default_context().load_cert_chain(keys.certificate(name), keys.key(name))  # raises if they do not match


def test_the_api_server_calls_the_kubelet_as_an_administrator(keys: pki.Pki) -> None:
    subject = load(keys.certificate("kubelet-client")).subject
    groups, users = (subject.get_attributes_for_oid(oid) for oid in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME))
    assert [group.value for group in groups] == ["system:masters"]
    assert [user.value for user in users] == ["kube-apiserver-kubelet-client"]


def test_the_authority_may_sign_and_the_others_may_not(keys: pki.Pki) -> None:
    def is_authority(path: Path) -> bool:
        return load(path).extensions.get_extension_for_class(x509.BasicConstraints).value.ca

    assert is_authority(keys.ca)
    assert not any(is_authority(keys.certificate(name)) for name in CERTIFICATES)


def test_nobody_else_can_read_a_secret(keys: pki.Pki) -> None:
    secrets = [*keys.folder.glob("*.key"), keys.tokens]
    assert len(secrets) == len(CERTIFICATES) + 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}
    assert stat.S_IMODE(keys.folder.stat().st_mode) == 0o700


def test_service_account_tokens_are_signed_with_a_key_of_their_own(keys: pki.Pki) -> None:
    key = serialization.load_pem_private_key(keys.service_accounts.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert keys.service_accounts.read_bytes() != keys.ca_key.read_bytes()


def test_each_user_has_a_token_of_its_own_and_only_the_administrator_is_a_master(keys: pki.Pki) -> None:
    rows = [line.split(",") for line in keys.tokens.read_text().splitlines()]
    assert [(user, group) for _, user, _, group in rows] == list(pki.USERS.values())
    assert len({token for token, *_ in rows}) == len(rows)
    assert keys.token("scheduler") == next(token for token, user, *_ in rows if user == "system:kube-scheduler")


def test_keys_once_made_are_kept(tmp_path: Path, keys: pki.Pki) -> None:
    before = {path: path.read_bytes() for path in keys.folder.iterdir()}
    pki.ensure(tmp_path / "pki", "127.96.16.1")
    assert {path: path.read_bytes() for path in keys.folder.iterdir()} == before


def test_what_a_kill_left_half_made_is_made_anew(tmp_path: Path) -> None:
    partial = tmp_path / ".pki.partial"
    partial.mkdir()
    (partial / "ca.crt").write_text("torn")
    load(pki.ensure(tmp_path / "pki", "127.96.16.1").ca)
    assert not partial.exists()
