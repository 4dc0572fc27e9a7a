"""`trainserve verify`: exit 0 verified, 1 not, 2 invalid input; a table for people, JSON for machines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.cli.conftest import Trainserve
from trainserve import store
from trainserve.serving.devserver.server import DevelopmentServer


@pytest.fixture
def copied(root: Path, tmp_path: Path) -> Path:
    """Version 1 in a store of the test, which it may damage."""
    shutil.copytree(root, tmp_path / "store")
    folder = tmp_path / "store/default/digits/1"
    for path in folder.iterdir():
        path.chmod(0o644)
    return folder


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Ed25519PrivateKey, Path]:
    """A private key, and the file of its public key."""
    private = Ed25519PrivateKey.generate()
    path = tmp_path / "public.pem"
    path.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, path


def test_a_right_server_is_verified_over_both_protocols(
    trainserve: Trainserve, root: Path, server: DevelopmentServer
) -> None:
    finished = trainserve("verify", server.url, root / "default/digits/1", "--grpc-url", server.grpc_url)
    assert (finished.status, finished.err) == (0, "")
    lines = finished.out.splitlines()
    assert lines[0].startswith("digits version 1  sha256:")
    assert "3 (" not in lines[1] and "every byte is as published" in lines[1]
    assert "compared with PyTorch's answers, within rtol 0.001 and atol 1e-05" in lines[3]
    rows = [line.split() for line in lines if line.startswith(("http", "grpc"))]
    assert [row[:3] for row in rows] == [
        [each, *run] for each in ("http", "grpc") for run in (["1", "1"], ["32", "1"], ["1", "8"])
    ]
    assert {row[-1] for row in rows} == {"equal"}
    assert "10 of 10 equal; most likely class equal in 64 of 64 samples" in finished.out
    assert lines[-1] == "verified"


def test_the_report_is_json_and_says_what_was_not_asked(
    trainserve: Trainserve, root: Path, server: DevelopmentServer
) -> None:
    finished = trainserve("verify", server.url, root / "default/digits/1", "--samples", "8", "-o", "json")
    report = json.loads(finished.out)
    assert (finished.status, report["verified"], report["samples"]) == (0, True, 8)
    assert {run["protocol"] for run in report["runs"]} == {"http"}
    assert report["notes"] == ["gRPC was not asked: no address of it was given"]
    assert report["files"]["matches"]


def test_another_version_exits_1_and_names_the_worst_sample(
    trainserve: Trainserve, root: Path, server: DevelopmentServer
) -> None:
    finished = trainserve("verify", server.url, root / "default/digits/2", "--model", "digits", "-o", "json")
    report = json.loads(finished.out)
    assert (finished.status, report["verified"], report["fault"]["kind"]) == (1, False, "WrongVersion")
    assert report["worst"]["sample"] == 17
    assert "version 1" in report["fault"]["message"]
    assert "the server's configuration names its digest sha256:" in report["fault"]["evidence"][0]
    assert report["servedDigest"] == store.resolve(root, "default", "digits", 1).digest
    shown = trainserve("verify", server.url, root / "default/digits/2").out
    assert "not verified\nmost likely fault: WrongVersion: the server serves version 1 under this name" in shown
    assert "worst    sample 17, probabilities[" in shown


def test_without_a_server_every_byte_is_checked(trainserve: Trainserve, root: Path, copied: Path) -> None:
    assert trainserve("verify", root / "default/digits/1").out.splitlines()[-1] == "verified"
    content = bytearray((copied / "samples.npz").read_bytes())
    content[-1] ^= 1
    (copied / "samples.npz").write_bytes(content)
    finished = trainserve("verify", copied)
    assert finished.status == 1
    assert "most likely fault: AlteredFile" in finished.out
    assert "samples.npz: expected sha256:" in finished.out


def test_an_altered_file_is_found_before_a_server_is_asked(trainserve: Trainserve, copied: Path) -> None:
    (copied / "model.onnx").write_bytes(b"something else")
    finished = trainserve("verify", "127.0.0.1:1", copied, "-o", "json")
    report = json.loads(finished.out)
    assert (finished.status, report["fault"]["kind"], report["server"]) == (1, "AlteredFile", None)


def test_with_a_key_the_signature_counts(
    trainserve: Trainserve, copied: Path, keys: tuple[Ed25519PrivateKey, Path]
) -> None:
    private, public = keys
    unsigned = trainserve("verify", copied, "--key", public)
    assert (unsigned.status, "not signed" in unsigned.out) == (1, True)
    signature = private.sign((copied / "manifest.json").read_bytes())
    (copied / "manifest.json.sig").write_bytes(signature)
    signed = trainserve("verify", copied, "--key", public)
    assert signed.status == 0
    assert "signed by key " in signed.out
    (copied / "manifest.json.sig").write_bytes(signature[:-1] + b"?")
    assert trainserve("verify", copied, "--key", public).status == 1


def test_a_lone_graph_is_held_against_onnxruntimes_own_answers(
    trainserve: Trainserve, root: Path, server: DevelopmentServer
) -> None:
    finished = trainserve("verify", server.url, root / "default/digits/1/model.onnx", "--model", "digits")
    assert finished.status == 0, finished.out
    assert "onnxruntime's answers, as no others were recorded" in finished.out


def test_no_server_is_not_verified(trainserve: Trainserve, root: Path) -> None:
    finished = trainserve("verify", "127.0.0.1:1", root / "default/digits/1")
    assert finished.status == 1
    assert "NotServed: no inference server answers at 127.0.0.1:1" in finished.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing argument '[URL] MODEL'"),
        (["a", "b", "c"], "give [URL] MODEL"),
        (["nohost", "ROOT/default/digits/1"], "Invalid value for URL: 'nohost' is not host:port"),
        (["h:1", "ROOT/default/digits/1", "--grpc-url", "x"], "Invalid value for --grpc-url: 'x' is not host:port"),
        (["ROOT/default/digits/1", "--model", "digits"], "--grpc-url, --model and --given require a URL"),
        (["ROOT/default/digits/7"], "version 7 does not exist; published: 1, 2"),
        (["ftp://x/y"], "address 'ftp://x/y' is not allowed"),
        (["ROOT/default/digits/1", "--key", "nowhere.pem"], "nowhere.pem: cannot be read"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(trainserve: Trainserve, root: Path, arguments: list[str], words: str) -> None:
    finished = trainserve("verify", *(each.replace("ROOT", str(root)) for each in arguments))
    assert (finished.status, finished.out) == (2, "")
    assert words in finished.err
