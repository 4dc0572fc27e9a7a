"""`python -m trainserve.serving fetch` with models from every source, and a server of its output."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tritonclient.http as triton
from click.testing import CliRunner

from tests.serving.graphs import convnet
from tests.serving.sources.places import RangeServer
from tests.serving.versions import answers, images
from trainserve.serving.__main__ import main
from trainserve.serving.devserver.server import DevelopmentServer
from trainserve.serving.repository import repository
from trainserve.serving.repository.settings import Settings
from trainserve.serving.sources.cache import NodeCache
from trainserve.serving.sources.ready_repository import ReadyRepository
from trainserve.serving.sources.source import open_model, open_servable
from trainserve.store.signing import PrivateKey

VERSION = "models/default/digits/1"
Start = Callable[..., DevelopmentServer]


def command(source: str, digest: str, into: Path, *more: str | Path) -> list[str]:
    options = ["--source", source, "--digest", digest, "--into", into, "--model-name", "digits", *more]
    return [sys.executable, "-m", "trainserve.serving", "fetch", *map(str, options)]


def fetch(source: str, digest: str, into: Path, *more: str | Path) -> tuple[int, dict[str, Any]]:
    """Run the command in this process; return its exit status and termination message."""
    finished = CliRunner().invoke(main, command(source, digest, into, *more)[3:])
    assert finished.stdout, finished.stderr
    return finished.exit_code, json.loads(finished.stdout)


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def digest(version: Path) -> str:
    return open_model(str(version)).digest


@pytest.fixture(scope="session")
def graph_digest(graph: Path) -> str:
    return open_model(str(graph)).digest


def test_a_version_from_a_web_server(server: RangeServer, digest: str, tmp_path: Path) -> None:
    status, outcome = fetch(server.uri(VERSION), digest, tmp_path / "run")
    assert (status, outcome) == (0, {"formatVersion": 1, "outcome": "Fetched", "version": 1, "digest": digest})
    assert names(tmp_path / "run/version") == {"manifest.json", "model.onnx", "samples.npz"}
    assert names(tmp_path / "run/repository") == {"digits/config.pbtxt", "digits/labels.txt", "digits/1/model.onnx"}
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["batching.json", "repository", "version"]


def test_a_lone_graph_is_served_under_the_name_it_is_given(
    server: RangeServer, graph_digest: str, tmp_path: Path
) -> None:
    status, outcome = fetch(server.uri("shapes.onnx"), graph_digest, tmp_path / "run")
    assert (status, outcome) == (0, {"formatVersion": 1, "outcome": "Fetched", "digest": graph_digest})
    assert names(tmp_path / "run/version") == {"shapes.onnx"}
    assert names(tmp_path / "run/repository") == {"digits/config.pbtxt", "digits/1/shapes.onnx"}


def test_the_pods_of_a_node_share_what_was_fetched(
    server: RangeServer, digest: str, tmp_path: Path, cache: NodeCache
) -> None:
    for pod in ("a", "b"):
        into = tmp_path / pod
        assert fetch(server.uri(VERSION), digest, into, "--cache", cache.folder, "--cache-size", "10000000")[0] == 0
    assert server.gets.count(f"{VERSION}/model.onnx") == 1
    (entry,) = cache.folder.glob("[!.]*/model.onnx")
    held, served = entry.stat(), (into / "version/model.onnx").stat()
    assert held.st_ino != served.st_ino, "a pod that could write to the cache could change what others are served"


def test_a_pod_that_was_killed_goes_on_where_it_was(server: RangeServer, digest: str, tmp_path: Path) -> None:
    server.held.clear()
    process = subprocess.Popen(command(server.uri(VERSION), digest, tmp_path / "run"))
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in tmp_path.glob("run/.fetching/.rooms/*/content/model.onnx")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (tmp_path / "run/version").exists()
    server.held.set()
    assert fetch(server.uri(VERSION), digest, tmp_path / "run")[0] == 0
    assert [asked for asked in server.ranges if asked], "the second asked for the rest alone"
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["batching.json", "repository", "version"]


@pytest.mark.parametrize("form", ["file", "text"])
def test_with_a_key_what_is_not_signed_is_refused(
    server: RangeServer, digest: str, tmp_path: Path, keys: Path, form: str
) -> None:
    path = keys / "public.pem"
    key = ("--public-key", str(path) if form == "file" else path.read_text())
    status, outcome = fetch(server.uri(VERSION), digest, tmp_path / "run", *key)
    assert (status, outcome["reason"]) == (1, "SignatureRefused")
    assert not (tmp_path / "run/repository").exists()
    assert f"{VERSION}/model.onnx" not in server.gets
    signature = PrivateKey.load(keys / "private.pem").sign(server.files[f"{VERSION}/manifest.json"])
    server.files[f"{VERSION}/manifest.json.sig"] = signature
    assert fetch(server.uri(VERSION), digest, tmp_path / "run", *key)[0] == 0


@pytest.mark.parametrize(
    ("source", "more", "reason", "words"),
    [
        (VERSION, [], "DigestMismatch", "expected sha256:0000"),
        ("models/default/digits/7/model.onnx", [], "VersionNotFound", "there is no https://"),
        (
            VERSION,
            ["--cache", "{tmp}/cache", "--cache-size", "1000"],
            "CacheFull",
            "does not fit into a cache of 1000",
        ),
    ],
)
def test_what_went_wrong_is_in_the_termination_message(
    server: RangeServer, digest: str, tmp_path: Path, source: str, more: list[str], reason: str, words: str
) -> None:
    wanted = f"sha256:{'0' * 64}" if reason == "DigestMismatch" else digest
    arguments = [each.format(tmp=tmp_path) for each in more]
    status, outcome = fetch(server.uri(source), wanted, tmp_path / "run", *arguments)
    assert (status, outcome["outcome"], outcome["reason"]) == (1, "Failed", reason)
    assert words in outcome["message"]
    assert not (tmp_path / "run/repository").exists()


@pytest.mark.parametrize("source", ["ftp://host/x.onnx", "https://host/a/../x.onnx", "s3://user:secret@bucket/x.onnx"])
def test_an_address_that_is_none_is_told(tmp_path: Path, digest: str, source: str) -> None:
    status, outcome = fetch(source, digest, tmp_path / "run")
    assert (status, outcome["reason"]) == (1, "InvalidAddress")
    assert "secret" not in outcome["message"]


def test_a_server_that_cannot_load_it_is_told_before_anything_is_fetched(
    server: RangeServer, digest: str, tmp_path: Path
) -> None:
    status, outcome = fetch(server.uri(VERSION), digest, tmp_path / "run", "--release", "x/tritonserver:24.04-py3")
    assert (status, outcome["reason"]) == (1, "UnservableModel")
    assert "IR version 10 needs Triton ≥ 24.05" in outcome["message"]
    assert server.gets == [f"{VERSION}/manifest.json"]


def asked(server: DevelopmentServer, name: str) -> np.ndarray[Any, Any]:
    given = triton.InferInput("images", [3, 28, 28, 1], "UINT8")
    given.set_data_from_numpy(images(3))
    with triton.InferenceServerClient(server.url) as client:
        return np.asarray(client.infer(name, [given]).as_numpy("probabilities"))


def test_a_server_answers_from_a_lone_graph_with_external_data_and_from_an_archive(
    server: RangeServer, tmp_path: Path, cache: NodeCache, start: Start, ready: Path
) -> None:
    graph = convnet(seed=3)
    expected = answers(graph, images(3))
    lone = tmp_path / "lone"
    lone.mkdir()
    onnx.save(
        graph,
        lone / "large.onnx",
        save_as_external_data=True,
        location="large.bin",
        size_threshold=0,
        convert_attribute=True,
    )
    for path in lone.iterdir():
        server.files[path.name] = path.read_bytes()
    shutil.make_archive(str(tmp_path / "ready"), "gztar", ready)
    server.files["ready.tar.gz"] = (tmp_path / "ready.tar.gz").read_bytes()

    large = open_servable(server.uri("large.onnx"), cache=cache)
    assert large.files == ("large.onnx", "large.bin")
    archived = open_model(server.uri("ready.tar.gz"), cache=cache)
    assert isinstance(archived, ReadyRepository)
    models = tmp_path / "served"
    shutil.copytree(archived.folder, models)
    repository.write([repository.Entry("large", large, Settings())], tmp_path / "one")
    shutil.copytree(tmp_path / "one/large", models / "large")
    running = start(models)
    np.testing.assert_allclose(asked(running, "large"), expected, atol=1e-5)
    np.testing.assert_allclose(asked(running, "second"), answers(convnet(), images(3)), atol=1e-5)


def test_the_documentations_keys_and_commands_work(version: Path, tmp_path: Path) -> None:
    """Runs every line of the section in a shell, as it stands."""
    text = Path("docs/serving.md").read_text()
    section = text.split("### Signatures", 1)[1].split("\n#", 1)[0]
    script = section.split("```sh\n", 1)[1].split("```", 1)[0]
    shutil.copytree(version, tmp_path / "store/default/digits/1")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    finished = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path},
    )
    assert finished.returncode == 0, finished.stderr
    assert "signed by key" in finished.stdout
    assert "Signature Verified Successfully" in finished.stdout
