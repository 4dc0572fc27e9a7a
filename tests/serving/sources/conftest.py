"""A published version, a lone graph and a ready repository, and the servers that they are fetched from."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.serving.graphs import convnet
from tests.serving.sources.folders import VERSION
from tests.serving.sources.places import RangeServer
from trainserve.serving.sources.cache import NodeCache


@pytest.fixture(scope="session")
def version(root: Path) -> Path:
    """Folder of default/digits version 1."""
    return root / VERSION


@pytest.fixture(scope="session")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lone .onnx file."""
    path = tmp_path_factory.mktemp("graph") / "shapes.onnx"
    onnx.save(convnet(), path)
    return path


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory, graph: Path) -> Path:
    """A ready Triton repository of two models."""
    folder = tmp_path_factory.mktemp("ready")
    for name in ("first", "second"):
        (folder / name / "1").mkdir(parents=True)
        shutil.copy(graph, folder / name / "1/model.onnx")
        (folder / name / "config.pbtxt").write_text(f'name: "{name}" backend: "onnxruntime" max_batch_size: 8')
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> NodeCache:
    return NodeCache(tmp_path / "cache")


@pytest.fixture(scope="session")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RangeServer]:
    running = RangeServer(tmp_path_factory.mktemp("https"))
    yield running
    running.close()


@pytest.fixture
def server(
    running_server: RangeServer, monkeypatch: pytest.MonkeyPatch, version: Path, graph: Path
) -> Iterator[RangeServer]:
    """An https server, signed by a trusted authority, with the version below `models/` and the graph."""
    running = running_server
    running.reset()
    monkeypatch.setenv("SSL_CERT_FILE", str(running.authority))
    for path in version.iterdir():
        running.files[f"models/{VERSION}/{path.name}"] = path.read_bytes()
    running.files["shapes.onnx"] = graph.read_bytes()
    yield running
    running.held.set()


@pytest.fixture(scope="session")
def s3(version: Path, graph: Path, ready: Path) -> Iterator[Any]:
    """A client of a real S3-compatible server: bucket `models` with the version, the graph and the repository."""
    import boto3
    from moto.server import ThreadedMotoServer

    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hunter2", "AWS_DEFAULT_REGION": "us-east-1"}
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    patch = pytest.MonkeyPatch()
    for name, value in {**keys, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
        patch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="models")
    for folder, below in ((version, f"store/{VERSION}"), (graph.parent, "graphs"), (ready, "ready")):
        for path in folder.rglob("*"):
            if path.is_file():
                client.put_object(
                    Bucket="models", Key=f"{below}/{path.relative_to(folder).as_posix()}", Body=path.read_bytes()
                )
    yield client
    patch.undo()
    running.stop()


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with private.pem and public.pem, created as docs/serving.md describes, and a second pair (other-…)."""
    folder = tmp_path_factory.mktemp("keys")
    for prefix in ("", "other-"):
        private, public = f"{prefix}private.pem", f"{prefix}public.pem"
        openssl(folder, "genpkey", "-algorithm", "ed25519", "-out", private)
        openssl(folder, "pkey", "-in", private, "-pubout", "-out", public)
    return folder


def openssl(folder: Path, *arguments: str) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount file systems of a given size; they are unmounted after the test."""
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        found = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
        if found.returncode:
            pytest.skip(f"cannot mount a small file system: {found.stderr.decode().strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(autouse=True)
def no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redirect the user's cache to a folder of the test."""
    if os.environ.get("HOME"):
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
