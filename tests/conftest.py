"""Fixtures and hooks of all tests: a real API server with TrainServe's kinds, and the `unit` marker of `make unit`."""

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

# Tests must pass on a busy machine, so Hypothesis sets no deadline; tests that measure durations are separate.
hypothesis.settings.register_profile("trainserve", deadline=None)
hypothesis.settings.load_profile("trainserve")


TOGETHER = (
    r"tests/cluster/",
    r"tests/dev/agent/",
    r"tests/(api/test_(open_fields|quantity|server|upgrade)|operator/test_(ending|server|server_counts|two_replicas))\.py",
)
"""Tests that share a cluster; those of the last pattern share the API server below. An idle cluster uses 0.1 core."""


STARTING = frozenset(
    {"kubeconfig", "cluster", "node", "monitored", "command", "start_pod", "run_helm", "execute", "run_script", "s3"}
)
"""Fixtures that start a server or a whole training run, or name a program that only `make setup` installs: a test that
uses one is not a unit test."""
SLOW = frozenset(
    line for line in (Path(__file__).parent / "slow.txt").read_text().splitlines() if not line.startswith("#")
)
"""Names of folders, files and tests that start a server themselves, or were measured to be slow."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Skip collecting files and folders without unit tests when only those are selected: importing them is slow."""
    return True if config.option.markexpr == "unit" and collection_path.stem in SLOW else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Exclude modules and tests from garbage collection: they live to the end, and each pass would traverse them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `unit` each test that needs no server and is not listed as slow."""
    for item in items:
        names = set(re.split(r"/|\.py::|::", item.nodeid.partition("[")[0]))
        if not STARTING.intersection(getattr(item, "fixturenames", ())) and not names.intersection(SLOW):
            item.add_marker(pytest.mark.unit)


class Scheduling(LoadFileScheduling):
    """Assign tests to workers by file, and all that share a cluster to one worker, so that no second one starts."""

    def _split_scope(self, nodeid: str) -> str:
        return next((shared for shared in TOGETHER if re.match(shared, nodeid)), super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """Return the scheduler that replaces the one that `--dist` names."""
    return Scheduling(config, log)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Print each failure at once: pytest prints failures at the end, which an interrupted run never reaches."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        what = getattr(report.longrepr, "reprcrash", None) or str(report.longrepr).strip().rpartition("\n")[2]
        print(f"\n{report.when} of {report.nodeid} failed: {str(what)[:2000]}", flush=True)


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An administrator's kubeconfig: for the cluster of KUBECONFIG, else for an API server of this session."""
    if given := os.environ.get("KUBECONFIG"):
        yield Path(given)
        return
    cluster = Cluster(tmp_path_factory.mktemp("apiserver"))
    try:
        cluster.up("apiserver")
        definitions = str(CHART / "files" / "crds")
        kubectl = [str(binaries.kubectl()), "--kubeconfig", str(cluster.kubeconfig)]
        # --validate=false: kubectl validates against the server, and servers before 1.25 do not know the CEL fields.
        subprocess.run([*kubectl, "apply", "--validate=false", "-f", definitions], check=True)
        subprocess.run(
            [*kubectl, "wait", "--for=condition=Established", "--timeout=60s", "-f", definitions], check=True
        )
        yield cluster.kubeconfig
    finally:
        cluster.down()


@pytest.fixture(autouse=True)
def no_object_store_of_another_test() -> None:
    """Clear fsspec's cache of S3 clients: each keeps the endpoint that the environment named when it was created."""
    if s3fs := sys.modules.get("s3fs"):
        s3fs.S3FileSystem.clear_instance_cache()
