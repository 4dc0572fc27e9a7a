"""A run, or another writer to the store, cannot make anything count as published that was not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.support import Kube, Object, condition, digits, is_true
from tests.serving.versions import publish_convnet
from trainserve.dev.cluster import Cluster
from trainserve.store import Published

PROGRAM = Path(sys.executable).parent / "trainserve"
FORGER = """
import json, os, pathlib
root, out = pathlib.Path("/var/lib/trainserve/store"), []
own = os.listdir(root)
try:
    (root / "neighbour/digits/9").mkdir(parents=True)
    (root / "neighbour/digits/9/manifest.json").write_text("{}")
except OSError as error:
    own.append(error.strerror)
config = json.load(open(os.environ["TRAINSERVE_CONFIG"]))
namespace, store = config["job"]["namespace"], config["store"]
artifact = {"version": 999999998, "digest": "sha256:" + 64 * "0", "bytes": 1, "opset": 18}
artifact["uri"] = f"{store['publicRoot']}/{namespace}/digits/999999998"
said = {"outcome": "Published", "artifact": artifact, "progress": {"epoch": 1}, "result": {"accuracy": 1.0}}
print("seen", json.dumps(sorted(own)), flush=True)
pathlib.Path(os.environ.get("TRAINSERVE_TERMINATION_LOG", "/dev/termination-log")).write_text(json.dumps(said))
os._exit(0)
"""
"""A script that lists the store, writes to a neighbour's folder, and claims what it never published."""


@pytest.fixture(scope="module")
def store(dev_cluster: Cluster, kube: Kube) -> Path:
    """The namespace's folder of the store."""
    return Path(dev_cluster.store) / kube.namespace


@pytest.fixture(scope="module")
def forged(kube: Kube) -> None:
    """A forging run, started; it ends by the time the other tests have finished."""
    made = kube.kubectl("create", "configmap", "code", f"--from-literal=train.py={FORGER}")
    assert made.returncode == 0, made.stderr
    kube.create("TrainJob", "forger", digits(model={"script": "configmap://code/train.py"}, dataset=None))


@pytest.fixture(scope="module")
def versions(store: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Published]:
    """Two versions without a remaining TrainJob."""
    root, namespace = store.parent, store.name
    return [publish_convnet(root, tmp_path_factory.mktemp("work"), namespace=namespace) for _ in range(2)]


def serving(kube: Kube, name: str, version: int) -> Object:
    return kube.wait(
        "ModelServe",
        name,
        lambda serve: (
            serve.get("status", {}).get("version") == version
            and is_true(serve, "Ready")
            and condition(serve, "Progressing").get("reason") == "UpToDate"
        ),
    )


def recorded(kube: Kube) -> Object:
    """Return the digests of the model's versions that the operator has recorded."""
    found = kube.kubectl("get", "configmap", "trainserve-versions.digits.0", "-o", "json")
    return dict(json.loads(found.stdout)["data"])


def test_a_follower_takes_the_newest_version_and_passes_over_a_stray_folder(
    kube: Kube, forged: None, store: Path, versions: list[Published]
) -> None:
    (store / "digits/999999999").mkdir(parents=True)
    kube.create("ModelServe", "follower", {"model": {"name": "digits"}})
    serving(kube, "follower", 2)
    events = kube.kubectl("get", "events", "--field-selector", "reason=PassedOver", "-o", "json").stdout
    assert [f"{kube.namespace}/digits/999999999" in event["message"] for event in json.loads(events)["items"]] == [True]
    assert recorded(kube) == {"2": versions[1].digest}


def test_a_follower_is_moved_back_and_stays(kube: Kube, forged: None, dev_cluster: Cluster) -> None:
    environment = {**os.environ, "KUBECONFIG": str(dev_cluster.kubeconfig)}
    command = [str(PROGRAM), "rollback", "follower", "--to", "1", "-n", kube.namespace]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "to version 1 of model digits" in done.stdout
    serving(kube, "follower", 1)
    assert recorded(kube).keys() == {"1", "2"}


def test_labels_that_were_changed_where_no_trainjob_knows_better_are_not_served(
    kube: Kube, forged: None, store: Path
) -> None:
    manifest = store / "digits/2/manifest.json"
    content = manifest.read_text()
    manifest.write_text(json.dumps(json.loads(content) | {"labels": ["forged"]}))
    kube.create("ModelServe", "late", {"model": {"name": "digits", "version": 2}})
    kept = kube.wait("ModelServe", "late", lambda serve: condition(serve, "ModelResolved").get("status") == "False"
                     and condition(serve, "ModelResolved")["reason"] == "DigestMismatch")  # fmt: skip
    assert "digits version 2 was published as sha256:" in condition(kept, "ModelResolved")["message"]
    manifest.write_text(content)


def test_a_run_sees_its_own_namespace_alone_and_its_claim_is_not_believed(
    kube: Kube, forged: None, dev_cluster: Cluster
) -> None:
    job = kube.finished("forger")
    failure = condition(job, "Failed")
    assert (failure["status"], failure["reason"]) == ("True", "InvalidResult")
    assert "the store does not hold version 999999998" in failure["message"]
    assert "artifact" not in job["status"]
    _, _, seen = kube.kubectl("logs", "forger-1-0").stdout.partition("seen ")
    assert {*json.loads(seen)} - {"Read-only file system"} == {".checkpoints", kube.namespace}
    assert not (Path(dev_cluster.store) / "neighbour").exists()
