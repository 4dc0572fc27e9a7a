"""A real API server with TrainServe's kinds, for what only it can say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from trainserve.dev import binaries
from trainserve.dev.cluster import CHART, Cluster

# What is right does not depend on how busy the machine is: how long a thing may take is a test of its own.
hypothesis.settings.register_profile("trainserve", deadline=None)
hypothesis.settings.load_profile("trainserve")


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
