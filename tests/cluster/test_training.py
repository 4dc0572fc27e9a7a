"""The trainer's features, requested in TrainJobs: each feature once, side by side."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
import torch
from moto.server import ThreadedMotoServer
from PIL import Image
from safetensors.numpy import save_file

from tests.cluster.support import HANG, Kube, Object, condition, digits, is_true, wait_for
from trainserve.dev.cluster import Cluster
from trainserve.models.precision import choose

TINY = {"shape": [8, 8, 1], "classes": 3, "samples": 300}
"""Options of the data set `synthetic`: these tests cover a run's path through the cluster, not its training."""
WRONG = "sha256:" + 64 * "0"
RNG = np.random.default_rng(0)


def tiny(**changes: Any) -> Object:
    """Return a TrainJob spec of the convnet on a tiny synthetic data set; `changes` replace its top-level fields."""
    return digits(**{"dataset": {"name": "synthetic", "options": TINY}, **changes})


def published(job: Object) -> Object:
    """Return the artifact of a job that has published version 1."""
    assert is_true(job, "Complete"), job["status"]["conditions"]
    artifact: Object = job["status"]["artifact"]
    assert artifact["version"] == 1
    return artifact


@pytest.fixture(scope="module")
def claim(kube: Kube, cluster: Cluster | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of this machine that the claim `data` of the namespace is bound to; its `pictures` has two classes."""
    if cluster is None:
        pytest.skip("binds a claim to a folder of this machine: development cluster only")
    folder = tmp_path_factory.mktemp("data")
    for part, count in (("train", 12), ("test", 4)):
        for label, brightness in (("dark", 40), ("light", 200)):
            home = folder / "pictures" / part / label
            home.mkdir(parents=True)
            for number in range(count):
                pixels = RNG.integers(brightness - 30, brightness + 30, (12, 10, 3), np.uint8)
                Image.fromarray(pixels).save(home / f"{number}.png")
    with kube.claim("data", folder):
        yield folder


@pytest.fixture(scope="module")
def bucket(kube: Kube) -> Iterator[str]:
    """URI of an object in an S3 server; a Secret lets the namespace's pods read it."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "reader", "aws_secret_access_key": "secret"}
    s3 = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1", **keys)
    s3.create_bucket(Bucket="data")
    s3.put_object(Bucket="data", Key="set.npz", Body=ARRAYS)
    environment = {name.upper(): value for name, value in keys.items()} | {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    literals = [f"--from-literal={name}={value}" for name, value in environment.items()]
    done = kube.kubectl("create", "secret", "generic", "trainserve-store", *literals)
    assert done.returncode == 0, done.stderr
    yield "s3://data/set.npz"
    server.stop()


def _arrays() -> bytes:
    """Return an .npz of 120 images whose brightness depends on their label."""
    labels = np.arange(120) % 2
    images = RNG.integers(0, 60, (120, 8, 8, 1), np.uint8) + labels[:, None, None, None].astype(np.uint8) * 150
    file = io.BytesIO()
    np.savez(file, x=images, y=labels)
    return file.getvalue()


ARRAYS = _arrays()


def apply(kube: Kube, manifests: str) -> None:
    done = kube.kubectl("apply", "-f", "-", stdin=manifests)
    assert done.returncode == 0, done.stderr


NETS = """
import time

from torch import nn


class Slow(nn.Sequential):
    def forward(self, images):
        if self.training:
            time.sleep(0.05)
        return super().forward(images)


def slow(shape, outputs):
    return Slow(nn.Flatten(), nn.LazyLinear(outputs))


def small(shape, outputs, width):
    return nn.Sequential(nn.Conv2d(shape[2], width, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(outputs))
"""
WEIGHTS = {"0.weight": (4, 3, 3, 3), "0.bias": (4,), "3.weight": (5, 144), "3.bias": (5,)}
"""Weights of that network for 8x8 images, with a head of five classes."""

PRECISION = choose("auto", torch.device("cpu")).name
"""A precision that this machine's processor supports: others are refused."""
RICH = {
    "epochs": 1, "optimizer": "sgd", "learningRate": 0.05, "schedule": "cosine", "precision": PRECISION, "ema": 0.9,
    "labelSmoothing": 0.1, "accumulate": 2, "weightDecay": 1e-4, "augment": {"crop": 1, "flip": True},
}  # fmt: skip


@pytest.fixture(scope="module")
def specs(kube: Kube, claim: Path, bucket: str) -> dict[str, Object]:
    """The runs, by name."""
    apply(
        kube,
        json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "nets"}, "data": {"nets.py": NETS}}),
    )
    weights = {name: RNG.normal(0, 0.1, shape).astype(np.float32) for name, shape in WEIGHTS.items()}
    save_file(weights, claim / "small.safetensors")
    digest = hashlib.sha256(ARRAYS).hexdigest()
    own = {"script": "configmap://nets/nets.py:small", "options": {"width": 4}, "freeze": ["0.*"]}
    return {
        "resumed": tiny(
            model={"script": "configmap://nets/nets.py:slow"},
            trainer={"epochs": 20},
            checkpoint={"keep": 1},
        ),
        "processes": tiny(
            model={"name": "resnet9"},
            dataset={"name": "synthetic", "options": TINY | {"shape": [8, 8, 3]}},
            trainer=RICH,
            energy={"gridIntensity": 380},
            log={"format": "json"},
            workers={"processesPerNode": 2},
        ),
        "nodes": tiny(dataset={"uri": bucket, "digest": f"sha256:{digest}"}, workers={"nodes": 2}),
        "pictures": tiny(
            model=own | {"pretrained": {"uri": "pvc://data/small.safetensors"}},
            dataset={"uri": "pvc://data/pictures", "size": [8, 8]},
            export={"precision": "int8"},
            gates={"maxAccuracyDrop": 0.5},
        ),
        "lstm": tiny(model={"name": "lstm"}, export={"precision": "fp16", "topK": 2}),
        "wrong-digest": tiny(dataset={"uri": bucket, "digest": WRONG}, workers={"nodes": 2}),
    }


Run = Callable[[str], Object]


@pytest.fixture(scope="module")
def started(kube: Kube, specs: dict[str, Object]) -> Run:
    """Create a run when it is first requested: nine pods at once would starve each other."""
    return cache(lambda name: kube.create("TrainJob", name, specs[name] | {"output": {"model": name}}))


@pytest.fixture(scope="module")
def finished(kube: Kube, started: Run) -> Run:
    """Wait until a run has ended; return it."""
    return lambda name: kube.finished(started(name)["metadata"]["name"])


def checkpoints(cluster: Cluster, job: Object) -> Path:
    """Return the folder of the job's checkpoints."""
    return cluster.store / ".checkpoints" / job["metadata"]["namespace"] / job["metadata"]["uid"]


def test_a_deleted_pod_costs_no_retry_and_the_next_one_goes_on_from_the_checkpoint(
    kube: Kube, dev_cluster: Cluster, started: Run, finished: Run
) -> None:
    folder = checkpoints(dev_cluster, started("resumed"))
    wait_for(lambda: any(folder.glob("step-*")), HANG, lambda: "no checkpoint was written")
    kube.delete("Pod", "resumed-1-0")
    job = finished("resumed")
    published(job)
    assert [attempt["number"] for attempt in job["status"]["attempts"]] == [1, 2]
    assert "resumed: after step" in kube.kubectl("logs", "resumed-2-0").stdout
    assert not folder.exists(), "checkpoints of a published run are of no use"


@pytest.mark.parametrize(("name", "pods"), [("processes", 1), ("nodes", 2)])
def test_two_processes_train_one_model_and_publish_it_once(
    kube: Kube, dev_cluster: Cluster, finished: Run, name: str, pods: int
) -> None:
    job = finished(name)
    published(job)
    assert [len(attempt["pods"]) for attempt in job["status"]["attempts"]] == [pods]
    folder = dev_cluster.store / kube.namespace / name
    assert [path.name for path in folder.iterdir() if path.name.isdigit()] == ["1"]


def test_a_resnet_trains_with_all_that_the_loop_has_and_tells_it_in_json(kube: Kube, finished: Run) -> None:
    job = finished("processes")
    assert job["status"]["result"]["precision"] == PRECISION
    lines = [json.loads(line) for line in kube.kubectl("logs", "processes-1-0").stdout.splitlines()]
    assert "training" in {line.get("event") for line in lines}


def test_a_folder_of_pictures_trains_a_users_own_network_from_weights_of_his(kube: Kube, finished: Run) -> None:
    published(finished("pictures"))
    log = kube.kubectl("logs", "pictures-1-0").stdout
    assert "pretrained: 4 tensors" in log or "pretrained: 2 tensors" in log, log
    assert "frozen: " in log


def test_an_exported_file_is_published_with_the_accuracy_that_it_has_in_its_own_precision(finished: Run) -> None:
    job = finished("pictures")
    assert published(job)["precision"] == "int8"
    assert job["status"]["result"]["exportedAccuracy"] >= job["status"]["result"]["accuracy"] - 0.5


def test_a_recurrent_network_takes_the_rows_of_its_images_as_steps_and_is_published_in_fp16(finished: Run) -> None:
    assert published(finished("lstm"))["precision"] == "fp16"


def test_data_from_s3_is_fetched_with_the_namespaces_credentials(finished: Run) -> None:
    assert finished("nodes")["status"]["result"]["accuracy"] > 0.9


def test_data_that_is_not_what_was_meant_is_refused_with_both_digests(specs: dict[str, Object], finished: Run) -> None:
    failed = condition(finished("wrong-digest"), "Failed")
    assert failed["reason"] == "DataError", failed
    assert WRONG in failed["message"]
    assert specs["nodes"]["dataset"]["digest"] in failed["message"]
