"""Users' own scripts, from `kubectl apply` to an answered request: the examples' Keras and PyTorch scripts.

Two words of the Keras script are changed: one epoch instead of five, on a tenth of the training images (the full run
takes minutes on two shared cores; its output is in examples/keras/README.md).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http
import yaml

from tests.cluster.support import Kube, Object, condition, is_true
from trainserve.models.data import idx
from trainserve.models.data.cache import Cache
from trainserve.models.data.fashion import files
from trainserve.models.data.watch import Watch

EXAMPLES = Path(__file__).parents[2] / "examples"
SHORTER = {
    "epochs=5": "epochs=1",
    "model.fit(x_train, y_train,": "model.fit(x_train[:6000], y_train[:6000],",
}


def apply(kube: Kube, *manifests: Object) -> None:
    together = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
    applied = kube.kubectl("apply", "-f", "-", stdin=together)
    assert applied.returncode == 0, applied.stderr


def manifests(path: str) -> list[Object]:
    return list(yaml.safe_load_all((EXAMPLES / path).read_text()))


def served(kube: Kube, path: str) -> str:
    """Apply the example's ModelServe, wait until it is ready and verified, and return its address."""
    (serve,) = manifests(path)
    apply(kube, serve)
    name = serve["metadata"]["name"]
    kube.wait("ModelServe", name, lambda thing: is_true(thing, "Ready") and is_true(thing, "Verified"))
    return kube.kubectl("get", "service", name, "-o", "jsonpath={.spec.clusterIP}").stdout


def right_answers(address: str, model: str, images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> float:
    """Return the share of correct answers of the server, queried 64 images at a time."""
    client = tritonclient.http.InferenceServerClient(f"{address}:8000")
    right = 0
    for start in range(0, len(images), 64):
        batch = np.ascontiguousarray(images[start : start + 64], dtype=np.float32)
        tensor = tritonclient.http.InferInput("images", list(batch.shape), "FP32")
        tensor.set_data_from_numpy(batch)
        answer = client.infer(model, [tensor]).as_numpy("probabilities")
        right += int((answer.argmax(axis=1) == labels[start : start + 64]).sum())
    client.close()
    return right / len(images)


@pytest.mark.parametrize("example", ["keras", "pytorch"])
def test_the_manifest_holds_the_script_that_lies_beside_it(example: str) -> None:
    script = {"keras": "train.py", "pytorch": "train_published.py"}[example]
    config_map, _ = manifests(f"{example}/trainjob.yaml")
    assert config_map["data"]["train.py"] == (EXAMPLES / example / script).read_text()


def test_a_pytorch_script_with_four_more_lines_trains_publishes_and_serves(kube: Kube) -> None:
    from sklearn.datasets import load_digits  # takes 1.2 s, so not imported at collection

    plain = (EXAMPLES / "pytorch/train.py").read_text().splitlines()
    published = (EXAMPLES / "pytorch/train_published.py").read_text().splitlines()
    assert len([line for line in published if line not in plain]) == len(published) - len(plain) == 4
    apply(kube, *manifests("pytorch/trainjob.yaml"))
    job = kube.finished("own-digits")
    assert is_true(job, "Published"), job["status"]
    assert job["status"]["progress"]["epoch"] == job["status"]["progress"]["epochs"] == 15
    assert job["status"]["result"]["accuracy"] >= 0.9
    digits = load_digits()
    images = digits.images[:, None].astype(np.float32) / 16
    assert right_answers(served(kube, "pytorch/modelserve.yaml"), "own-digits", images, digits.target) > 0.9


def test_the_keras_script_trains_publishes_and_serves(kube: Kube) -> None:
    config_map, job = manifests("keras/trainjob.yaml")
    for words, fewer in SHORTER.items():
        assert words in config_map["data"]["train.py"]
        config_map["data"]["train.py"] = config_map["data"]["train.py"].replace(words, fewer)
    job["spec"]["gates"] = {"minAccuracy": 0.7}
    apply(kube, config_map, job)
    run = kube.finished("clothes", timeout=400)
    assert is_true(run, "Published"), run["status"]
    log = kube.kubectl("logs", "-l", "trainserve.io/trainjob=clothes", "--tail=-1").stdout
    printed = next(line for line in log.splitlines() if line.startswith("Test accuracy:"))
    accuracy = run["status"]["result"]["accuracy"]
    assert accuracy == pytest.approx(float(printed.split()[-1]), abs=1e-4)
    folder = files(Cache(Watch()))
    images = idx.read(folder / "t10k-images-idx3-ubyte")[:1024, ..., None] / 255
    labels = idx.read(folder / "t10k-labels-idx1-ubyte")[:1024]
    assert right_answers(served(kube, "keras/modelserve.yaml"), "clothes", images, labels) == pytest.approx(
        accuracy, abs=0.05
    )


def test_a_plain_script_runs_as_it_is_and_publishes_nothing(kube: Kube) -> None:
    config_map, job = manifests("pytorch/trainjob.yaml")
    config_map["metadata"]["name"] = job["metadata"]["name"] = "plain"
    config_map["data"]["train.py"] = (EXAMPLES / "pytorch/train.py").read_text().replace("= 15,", "= 1,")
    job["spec"] = {"model": {"script": "configmap://plain/train.py"}, "policy": {"retries": 0}}
    apply(kube, config_map, job)
    run = kube.finished("plain")
    assert is_true(run, "Complete"), run["status"]
    assert "artifact" not in run["status"]


def test_an_error_in_a_script_is_told_with_its_line(kube: Kube) -> None:
    config_map, job = manifests("pytorch/trainjob.yaml")
    config_map["metadata"]["name"] = job["metadata"]["name"] = "broken"
    config_map["data"]["train.py"] = "import json\n\njson.loads('{')\n"
    job["spec"]["model"]["script"] = "configmap://broken/train.py"
    job["spec"]["policy"] = {"retries": 0}
    apply(kube, config_map, job)
    failed = condition(kube.finished("broken"), "Failed")
    assert failed["reason"] == "ScriptError"
    assert "train.py, line 3: JSONDecodeError" in failed["message"]
