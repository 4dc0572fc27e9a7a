"""Signatures: by keys that openssl created, verifiable with openssl; an unsigned or altered model is not loaded."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.serving.sources.conftest import openssl
from tests.serving.sources.places import RangeServer
from trainserve.cli.main import main
from trainserve.serving.sources.cache import NodeCache
from trainserve.serving.sources.model_signature import sign
from trainserve.serving.sources.source import open_model
from trainserve.store import InvalidAddress
from trainserve.store.signing import InvalidKey, PrivateKey, PublicKey, SignatureRefused

VERSION = "default/digits/1"


@pytest.fixture
def private(keys: Path) -> PrivateKey:
    return PrivateKey.load(keys / "private.pem")


@pytest.fixture
def public(keys: Path) -> PublicKey:
    return PublicKey.load(keys / "public.pem")


@pytest.fixture(params=["version", "graph", "repository"])
def model(request: pytest.FixtureRequest, version: Path, graph: Path, ready: Path, tmp_path: Path) -> Path:
    """A model of each kind that a test may change."""
    if request.param == "graph":
        return Path(shutil.copy(graph, tmp_path / "shapes.onnx"))
    source = version if request.param == "version" else ready
    return Path(shutil.copytree(source, tmp_path / "folder"))


def test_a_signed_model_is_opened_with_its_key(model: Path, private: PrivateKey, public: PublicKey) -> None:
    sign(str(model), private)
    assert open_model(str(model), key=public) == open_model(str(model))


def test_an_unsigned_model_is_refused_where_a_key_is_required(model: Path, public: PublicKey) -> None:
    with pytest.raises(SignatureRefused, match=f"not signed; a signature by key {public.fingerprint} is required"):
        open_model(str(model), key=public)


def test_another_key_is_refused(model: Path, keys: Path, public: PublicKey) -> None:
    sign(str(model), PrivateKey.load(keys / "other-private.pem"))
    with pytest.raises(SignatureRefused, match=f"the signature is not by key {public.fingerprint}"):
        open_model(str(model), key=public)


def test_a_model_that_was_altered_and_looks_whole_is_refused(
    model: Path, private: PrivateKey, public: PublicKey
) -> None:
    sign(str(model), private)
    if model.is_file():
        model.write_bytes(model.read_bytes() + b"\x32\x00")
    elif (model / "manifest.json").is_file():
        manifest = model / "manifest.json"
        manifest.chmod(0o644)
        manifest.write_bytes(manifest.read_bytes().replace(b'"zero"', b'"nine"'))
    else:
        (model / "first/config.pbtxt").write_text('name: "first" backend: "python"')
    open_model(str(model))
    with pytest.raises(SignatureRefused, match="altered, or signed by another key"):
        open_model(str(model), key=public)


def test_an_archive_brings_its_signature_along(
    ready: Path, tmp_path: Path, cache: NodeCache, private: PrivateKey, public: PublicKey
) -> None:
    folder = shutil.copytree(ready, tmp_path / "folder")
    sign(str(folder), private)
    shutil.make_archive(str(tmp_path / "ready"), "zip", folder)
    assert open_model(str(tmp_path / "ready.zip"), cache=cache, key=public).digest == open_model(str(ready)).digest


def test_openssl_agrees_with_a_versions_signature(
    version: Path, tmp_path: Path, private: PrivateKey, keys: Path
) -> None:
    folder = Path(shutil.copytree(version, tmp_path / "version"))
    where = sign(str(folder), private)
    assert where == str(folder / "manifest.json.sig")
    openssl(
        folder,
        *("pkeyutl", "-verify", "-pubin", "-inkey", str(keys / "public.pem")),
        *("-rawin", "-in", "manifest.json", "-sigfile", "manifest.json.sig"),
    )


def test_a_signature_that_openssl_made_is_taken(graph: Path, tmp_path: Path, keys: Path, public: PublicKey) -> None:
    path = Path(shutil.copy(graph, tmp_path / "shapes.onnx"))
    (tmp_path / "digest").write_text(open_model(str(path)).digest)
    openssl(
        tmp_path,
        *("pkeyutl", "-sign", "-inkey", str(keys / "private.pem")),
        *("-rawin", "-in", "digest", "-out", "shapes.onnx.sig"),
    )
    assert open_model(str(path), key=public).digest == (tmp_path / "digest").read_text()


def test_nothing_but_the_manifest_of_an_unsigned_model_is_fetched(
    server: RangeServer, cache: NodeCache, public: PublicKey
) -> None:
    with pytest.raises(SignatureRefused, match="not signed"):
        open_model(server.uri(f"models/{VERSION}"), cache=cache, key=public)
    assert server.gets == [f"models/{VERSION}/manifest.json", f"models/{VERSION}/manifest.json.sig"]


@pytest.mark.parametrize("path", [f"models/{VERSION}", "shapes.onnx"])
def test_a_signature_beside_a_remote_model_is_believed(
    server: RangeServer, cache: NodeCache, private: PrivateKey, public: PublicKey, path: str
) -> None:
    model = open_model(server.uri(path), cache=cache)
    with pytest.raises(SignatureRefused):
        open_model(server.uri(path), cache=cache, key=public, digest=model.digest)
    beside, message = (
        (f"{path}/manifest.json.sig", server.files[f"{path}/manifest.json"])
        if path != "shapes.onnx"
        else ("shapes.onnx.sig", model.digest.encode())
    )
    server.files[beside] = private.sign(message)
    assert open_model(server.uri(path), cache=cache, key=public).digest == model.digest
    server.files.clear()
    assert open_model(server.uri(path), cache=cache, key=public, digest=model.digest) == model, "no network is needed"


def test_a_model_in_an_object_store_is_signed_there(
    s3: Any, cache: NodeCache, private: PrivateKey, public: PublicKey, version: Path
) -> None:
    for path in version.iterdir():
        s3.put_object(Bucket="models", Key=f"signed/{VERSION}/{path.name}", Body=path.read_bytes())
    assert sign(f"s3://models/signed/{VERSION}", private) == f"s3://models/signed/{VERSION}/manifest.json.sig"
    assert open_model(f"s3://models/signed/{VERSION}", cache=cache, key=public)


@pytest.mark.parametrize("address", ["https://host/model.onnx", "/tmp/ready.zip"])
def test_where_nothing_can_be_laid_beside_nothing_is_signed(address: str, private: PrivateKey) -> None:
    with pytest.raises(InvalidAddress, match="sign it where it is published from"):
        sign(address, private)


def test_an_encrypted_private_key_needs_its_password(keys: Path, tmp_path: Path) -> None:
    openssl(
        keys, *("pkey", "-in", "private.pem", "-aes256", "-passout", "pass:secret", "-out", str(tmp_path / "locked"))
    )
    assert PrivateKey.load(tmp_path / "locked", b"secret").public.fingerprint
    with pytest.raises(InvalidKey, match=r"[Pp]assword was not given"):
        PrivateKey.load(tmp_path / "locked")
    with pytest.raises(InvalidKey, match="wrong password"):
        PrivateKey.load(tmp_path / "locked", b"guess")


def make_rsa(folder: Path) -> None:
    openssl(folder, "genpkey", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "key")


def make_text(folder: Path) -> None:
    (folder / "key").write_text("no key")


def make_nothing(folder: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_rsa, "not an Ed25519 private key; openssl genpkey -algorithm ed25519 writes one"),
        (make_text, "not a private key in PEM form"),
        (make_nothing, "cannot be read: No such file or directory"),
    ],
)
def test_what_is_no_such_key_is_told(tmp_path: Path, make: Callable[[Path], None], words: str) -> None:
    make(tmp_path)
    with pytest.raises(InvalidKey, match=f"{tmp_path}/key: {words}"):
        PrivateKey.load(tmp_path / "key")


def test_a_public_key_is_no_private_one(keys: Path) -> None:
    with pytest.raises(InvalidKey, match="not a private key in PEM form"):
        PrivateKey.load(keys / "public.pem")
    with pytest.raises(InvalidKey, match="not a public key in PEM form"):
        PublicKey.load(keys / "private.pem")


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def trainserve(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command in this process; return its exit status, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["trainserve", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return run


def test_the_command_signs_and_says_with_which_key(
    version: Path, tmp_path: Path, keys: Path, public: PublicKey, trainserve: Command
) -> None:
    folder = Path(shutil.copytree(version, tmp_path / "version"))
    told = f"signed by key {public.fingerprint}: {folder}/manifest.json.sig\n"
    assert trainserve("sign", folder, "--key", keys / "private.pem") == (0, told, "")
    assert open_model(str(folder), key=public)


def test_the_command_signs_nothing_that_is_altered(
    version: Path, tmp_path: Path, keys: Path, trainserve: Command
) -> None:
    folder = Path(shutil.copytree(version, tmp_path / "version"))
    (folder / "model.onnx").chmod(0o644)
    (folder / "model.onnx").write_bytes(b"other")
    status, out, errors = trainserve("sign", folder, "--key", keys / "private.pem")
    assert (status, out) == (1, "")
    assert "model.onnx: expected sha256:" in errors
    assert not (folder / "manifest.json.sig").exists()


def test_the_command_calls_a_wrong_key_bad_input(version: Path, keys: Path, trainserve: Command) -> None:
    status, _, errors = trainserve("sign", version, "--key", keys / "public.pem")
    assert status == 2
    assert "not a private key in PEM form" in errors
