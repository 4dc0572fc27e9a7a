"""README.md and docs/quickstart.md: every command on them is run as it stands.

One shell runs all commands of a page in order, so that later ones see what earlier ones export.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.support import HANG, Kube
from trainserve.dev import binaries
from trainserve.dev.bootstrap import ROLE
from trainserve.dev.cluster import Cluster
from trainserve.dev.helm import helm
from trainserve.dev.state import SYSTEM_NAMESPACE

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "node_modules")
OURS = (
    "crd/trainjobs.trainserve.io",
    "crd/modelserves.trainserve.io",
    f"namespace/{SYSTEM_NAMESPACE}",
    f"clusterrolebinding/{ROLE}",
)
"""Objects that a development cluster gets at its start and a user's cluster lacks."""
ENDLESS = {"kubectl get trainjobs --watch", "kubectl get modelserves --watch"}
"""Commands that a user interrupts; here they are stopped after a few seconds."""
PRINTED = {"kubectl get tsj,tsm"}
"""Prompts in the demo's output, which the README shows."""
OF_CI = ["make help", "make unit", "make check", "make test"]
"""README's commands that other tests run (tests/test_project.py), or that run the tests themselves (.ci/run)."""


def commands(page: Path) -> list[str]:
    """Return the commands after the prompts of a page's console blocks, without trailing comments."""
    consoles = "".join(re.findall(r"^```console\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL))
    prompted = re.findall(r"^\$ ((?:.*\\\n)*.*)", consoles, re.MULTILINE)
    return [re.sub(r"\s+# .*$", "", command) for command in prompted]


def run(lines: list[str], folder: Path, kubeconfig: Path | None = None) -> str:
    """Run the commands in one shell; return their output, each after its own line. Fail at the first that fails."""
    environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    if kubeconfig:
        environment |= {"KUBECONFIG": str(kubeconfig)}
    tools = {str(Path(program).parent) for program in (helm(), binaries.kubectl())}
    environment["PATH"] = os.pathsep.join([*tools, environment["PATH"]])
    script = "\n".join(
        f"echo {_quoted('$ ' + line)}\n" + (f"timeout 5 {line} || test $? = 124" if line in ENDLESS else line)
        for line in lines
    )
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=3 * HANG,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the repository's files with a link to this checkout's environment: its `.dev` belongs to the test."""
    folder = tmp_path / "trainserve"
    shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster without TrainServe's objects, like a user's before the chart is installed."""
    started = Cluster(tmp_path / "cluster", simulated_gpus=2)
    try:
        started.up("etcd", "apiserver", "controller-manager", "scheduler", "agent")
        run([f"kubectl delete {' '.join(OURS)}"], tmp_path, started.kubeconfig)
        yield started
    finally:
        started.down()


def test_the_quickstart_trains_asks_publishes_again_and_goes_back(checkout: Path) -> None:
    try:
        printed = run(commands(checkout / "docs" / "quickstart.md"), checkout)
    finally:
        run(["make demo-down"], checkout)
    assert "Every step verified: trained, checked, published, served as version 1, right answers" in printed
    asked = printed.partition("$ trainserve predict")[2].partition("$ curl")[0]
    assert re.search(r"^eight\.png +0 +8 ", asked, re.MULTILINE), asked
    assert (checkout / "report.html").stat().st_size > 10_000
    assert re.search(r"modelserve\.trainserve\.io/digits +True +2 ", printed)
    assert f"nothing of {checkout / '.dev'} runs any more" in printed


def test_the_readme_begins_with_the_demo_and_ends_with_the_tests() -> None:
    lines = commands(ROOT / "README.md")
    assert lines[:2] == ["make demo", "make demo-down"]
    assert lines[-len(OF_CI) :] == OF_CI
    first = commands(ROOT / "docs" / "quickstart.md")
    assert (first[0], first[-1]) == ("make demo", "make demo-down"), (
        "the test of the quickstart runs README's first two"
    )


def test_what_the_readme_says_of_a_real_cluster_installs_trains_and_serves(bare: Cluster, tmp_path: Path) -> None:
    lines = [line for line in commands(ROOT / "README.md") if not line.startswith("make ") and line not in PRINTED]
    kube = Kube(bare.kubeconfig, bare, "default")
    models = tmp_path / "models"
    models.mkdir(mode=0o777)
    ready = [
        "kubectl wait --for=condition=Complete --timeout=7m trainjob/digits",
        "kubectl wait --for=condition=Ready --timeout=7m modelserve/digits",
    ]
    with kube.claim("trainserve-models", models):
        run([*lines, *ready], ROOT, bare.kubeconfig)
    assert (models / "default" / "digits" / "1" / "manifest.json").exists()


def test_a_pages_commands_are_read_with_what_continues_them_and_without_comments(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ one --a   # why\nprinted\n$ two \\\n    --b\n```\n```sh\nthree\n```\n")
    assert commands(page) == ["one --a", "two \\\n    --b"]
