"""TLS: which CA is trusted, which host name is checked, and that nothing is sent to any other server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Trainserve, trainserve
from tests.client.fronts import Begin, Front, Tls
from tests.serving.graphs import convnet
from tests.serving.versions import answers, images
from trainserve.client import AsyncClient, Client, Protocol, Unavailable
from trainserve.dev import pki

__all__ = ["trainserve"]

SCHEMES: dict[Protocol, str] = {"http": "https", "grpc": "grpcs"}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> pki.Pki:
    """A new CA, with a certificate for localhost and 127.0.0.1 (`etcd`) and one that names no host."""
    return pki.ensure(tmp_path_factory.mktemp("keys") / "pki", "127.0.0.2")


@pytest.fixture
def tls(keys: pki.Pki) -> Tls:
    return keys.certificate("etcd"), keys.key("etcd")


@pytest.fixture
def trusted(keys: pki.Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(keys.ca))


def url(front: Front, protocol: Protocol, host: str = "localhost") -> str:
    return f"{SCHEMES[protocol]}://{host}:{front.port}"


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_server_that_a_trusted_authority_vouches_for_is_asked(
    front: Begin, tls: Tls, protocol: Protocol, host: str
) -> None:
    with Client(url(front(protocol, tls=tls), protocol, host)) as client:
        seen = client.predict("digits", images(70))
    np.testing.assert_allclose(seen.probabilities, answers(convnet(), images(70)), rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("trusted")
async def test_connections_are_used_again_over_tls_too(front: Begin, tls: Tls) -> None:
    there = front("http", tls=tls)
    async with AsyncClient(url(there, "http")) as client:
        for _ in range(5):
            await client.predict("digits", images(1))
    assert (there.requests, there.connections) == (8, 1)  # metadata, configuration and labels once, five inferences


def test_a_server_of_an_unknown_authority_is_sent_nothing(front: Begin, tls: Tls, protocol: Protocol) -> None:
    there = front(protocol, tls=tls)
    with Client(url(there, protocol), retries=1) as client, pytest.raises(Unavailable) as failed:
        client.models()
    assert "certificate" in str(failed.value).lower()
    assert there.requests == 0


@pytest.mark.usefixtures("trusted")
def test_a_server_with_another_hosts_certificate_is_sent_nothing(
    front: Begin, keys: pki.Pki, protocol: Protocol
) -> None:
    there = front(protocol, tls=(keys.certificate("kubelet-client"), keys.key("kubelet-client")))
    with Client(url(there, protocol), retries=1) as client, pytest.raises(Unavailable):
        client.models()
    assert there.requests == 0


@pytest.mark.usefixtures("trusted")
def test_a_server_that_speaks_no_tls_is_not_asked_without(front: Begin, protocol: Protocol) -> None:
    there = front(protocol)
    with Client(url(there, protocol), retries=1) as client, pytest.raises(Unavailable) as failed:
        client.models()
    assert "WRONG_VERSION_NUMBER" in str(failed.value)
    assert there.requests == 0


@pytest.mark.usefixtures("trusted")
def test_predict_takes_such_an_address(
    front: Begin, tls: Tls, protocol: Protocol, tmp_path: Path, trainserve: Trainserve
) -> None:
    np.save(tmp_path / "three.npy", images(3))
    done = trainserve("predict", "three.npy", "--url", url(front(protocol, tls=tls), protocol), "-o", "csv")
    assert done.status == 0, done.err
    assert len(done.out.splitlines()) == 4


def test_a_certificate_that_is_not_trusted_is_told_in_one_line(
    front: Begin, tls: Tls, protocol: Protocol, tmp_path: Path
) -> None:
    np.save(tmp_path / "three.npy", images(3))
    address = url(front(protocol, tls=tls), protocol)
    script = str(Path(sys.executable).with_name("trainserve"))
    command = [script, "predict", str(tmp_path / "three.npy"), "--url", address]
    done = subprocess.run(command, capture_output=True, text=True)  # a process: gRPC logs to stderr itself
    assert (done.returncode, done.stdout) == (1, "")
    assert "CERTIFICATE_VERIFY_FAILED" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", [("verify", "https://a:1", "/nowhere"), ("bench", "grpcs://a:1")])
def test_what_measures_or_verifies_a_server_itself_says_that_it_does_not(
    command: tuple[str, ...], trainserve: Trainserve
) -> None:
    done = trainserve(*command)
    assert done.status == 2
    assert "TLS is not supported here" in done.err
