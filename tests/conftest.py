"""What all tests share: a real API server with TrainServe's kinds, and which tests are quick (`make unit`)."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

from trainserve.dev import binaries
from trainserve.dev.cluster import CHART, Cluster

# What is right does not depend on how busy the machine is: how long a thing may take is a test of its own.
hypothesis.settings.register_profile("trainserve", deadline=None)
hypothesis.settings.load_profile("trainserve")


TOGETHER = (
    r"tests/cluster/",
    r"tests/dev/agent/",
    r"tests/(api/test_(open_fields|quantity|server|upgrade)|operator/test_(ending|server|server_counts|two_replicas))\.py",
)
"""Tests that share a cluster, the last ones the API server below. An idle cluster takes a tenth of a core."""


STARTING = frozenset(
    {"kubeconfig", "cluster", "node", "monitored", "command", "start_pod", "run_helm", "execute", "run_script", "s3"}
)
"""Fixtures that start a server or a whole training run, or name a program that `make setup` alone brings: who asks for
one is no unit test."""
SLOW = frozenset(
    line for line in (Path(__file__).parent / "slow.txt").read_text().splitlines() if not line.startswith("#")
)
"""Names of folders, files and tests that start a server themselves, or were measured to be slow."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves whole files and folders unread that have no unit test, where these are asked for: imports take time."""
    return True if config.option.markexpr == "unit" and collection_path.stem in SLOW else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector from the modules and tests: they stay to the end, and it would walk them each time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks as `unit` each test that needs no server and was not measured to be slow."""
    for item in items:
        names = set(re.split(r"/|\.py::|::", item.nodeid.partition("[")[0]))
        if not STARTING.intersection(getattr(item, "fixturenames", ())) and not names.intersection(SLOW):
            item.add_marker(pytest.mark.unit)


class Scheduling(LoadFileScheduling):
    """Gives a worker whole files, and all that share a cluster to one worker: no second one is started for them."""

    def _split_scope(self, nodeid: str) -> str:
        return next((shared for shared in TOGETHER if re.match(shared, nodeid)), super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """Replaces what `--dist` names."""
    return Scheduling(config, log)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Say at once what failed and why: pytest itself tells it at the end, which a run that is stopped never reaches."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        what = getattr(report.longrepr, "reprcrash", None) or str(report.longrepr).strip().rpartition("\n")[2]
        print(f"\n{report.when} of {report.nodeid} failed: {str(what)[:2000]}", flush=True)


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An administrator's kubeconfig: of KUBECONFIG's cluster, else of an API server for this session, and no more."""
    if given := os.environ.get("KUBECONFIG"):
        yield Path(given)
        return
    cluster = Cluster(tmp_path_factory.mktemp("apiserver"))
    try:
        cluster.up("apiserver")
        definitions = str(CHART / "files" / "crds")
        kubectl = [str(binaries.kubectl()), "--kubeconfig", str(cluster.kubeconfig)]
        # --validate=false: a kubectl that asks a server before 1.25 what is valid does not know of CEL.
        subprocess.run([*kubectl, "apply", "--validate=false", "-f", definitions], check=True)
        subprocess.run(
            [*kubectl, "wait", "--for=condition=Established", "--timeout=60s", "-f", definitions], check=True
        )
        yield cluster.kubeconfig
    finally:
        cluster.down()


@pytest.fixture(autouse=True)
def no_object_store_of_another_test() -> None:
    """fsspec keeps a client with the endpoint that the environment named when it was made."""
    if s3fs := sys.modules.get("s3fs"):
        s3fs.S3FileSystem.clear_instance_cache()
