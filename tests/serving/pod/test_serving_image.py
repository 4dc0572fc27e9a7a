"""What images/serving.Dockerfile installs: small, without torch, and sufficient for every command that its pods run."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.environments import ROOT, closure, environment, size
from trainserve.serving.devserver.server import DevelopmentServer, free_ports
from trainserve.store import Published

DOCKERFILE = ROOT / "images" / "serving.Dockerfile"
EXTRAS = re.findall(r"'\.\[([\w,-]+)\]'", DOCKERFILE.read_text())[0].split(",")
IMAGE = 450_000_000
BASE = 150_000_000
"""Bytes of python:3.11-slim-bookworm with its library's bytecode: a generous estimate, since no test can measure it."""
IMPORTS = """
import ast, s3fs, sys
import trainserve.client.grpc, trainserve.client.http, trainserve.serving.load.load_grpc
import trainserve.serving.__main__ as program
tree = ast.parse(open(program.__file__).read())
own = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module.startswith("trainserve.")]
for node in own:
    exec(ast.unparse(node))
print(len(own), sorted({"torch", "onnxruntime"} & sys.modules.keys()))
"""
"""Everything that the commands import at run time."""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the image's packages."""
    return environment(tmp_path_factory.mktemp("image"), *EXTRAS)


def run(python: Path, *arguments: str | Path) -> str:
    """Run a program of the image; return its output."""
    command = [str(python), *map(str, arguments)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def test_what_it_installs_has_no_torch_and_fits() -> None:
    packages = closure(*EXTRAS)
    assert {"numpy", "onnx", "s3fs"} <= packages.keys()
    assert not {"torch", "onnxruntime", "kopf", "gevent", "pillow", "pyarrow", "matplotlib", "rich"} & packages.keys()
    assert size(packages.values()) + BASE <= IMAGE


def test_what_the_commands_import_is_there(python: Path) -> None:
    count, others = run(python, "-c", IMPORTS).split(maxsplit=1)
    assert (int(count) > 20, others) == (True, "[]\n")


@pytest.mark.parametrize("command", ["fetch", "resolve", "probe", "tune"])
def test_every_command_is_there(python: Path, command: str) -> None:
    assert "Usage: python -m trainserve.serving" in run(python, "-m", "trainserve.serving", command, "--help")


def test_a_version_is_resolved_fetched_and_verified_on_a_server(
    python: Path, root: Path, published: Published, server: DevelopmentServer, tmp_path: Path
) -> None:
    serving = ("-m", "trainserve.serving")
    asked = ("--store", root, "--public-root", root.as_uri(), "--namespace", "default", "--model", "digits")
    resolved = json.loads(run(python, *serving, "resolve", *asked, "--version", "1"))
    assert (resolved["outcome"], resolved["digest"]) == ("Resolved", published.digest)
    wanted = ("--store", root, "--path", "default/digits/1", "--digest", published.digest)
    fetched = json.loads(run(python, *serving, "fetch", *wanted, "--into", tmp_path, "--model-name", "digits"))
    assert fetched["outcome"] == "Fetched"

    (port,) = free_ports(1)
    here = ("--version", tmp_path / "version", "--model-name", "digits", "--url", server.url)
    options = [*serving, "probe", *here, "--listen", f"127.0.0.1:{port}"]
    probe = subprocess.Popen([str(python), *map(str, options)])
    try:
        report: dict[str, Any] = {}
        until = time.monotonic() + 60
        while not report.get("verified"):
            assert probe.poll() is None and time.monotonic() < until, report
            time.sleep(0.1)
            try:
                report = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/report", timeout=5))
            except OSError:
                continue
        assert report["reason"] == "SamplesMatch"
    finally:
        probe.kill()
        probe.wait()
