"""Models from outside the cluster's store: from an object store, and from a web server with a login and a private CA.
The namespace's Secret lets its pods read them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import numpy as np
import pytest
import tritonclient.http
from moto.server import ThreadedMotoServer

from tests.cluster.support import Kube, Object, condition, is_true
from tests.models.data_servers import HttpsServer
from tests.serving.graphs import convnet
from tests.serving.versions import answers, images, publish_convnet
from trainserve.dev.cluster import Cluster
from trainserve.store.manifest import digest

VERSION = "elsewhere/digits/1"
FILES = "/var/run/secrets/trainserve"
"""Folder in which the Secret's keys are mounted as files (docs/serving.md)."""
WRONG = "sha256:" + 64 * "0"
SECRET_KEY = "wJalr-UtnFEMI-bPxRfiCY"
PASSWORD = "open-sesame"
TALKER = f"""
import os
from pathlib import Path

seen = [os.environ["AWS_SECRET_ACCESS_KEY"], Path("{FILES}/netrc").read_text()]
raise RuntimeError(f"of all variables and files: {{seen}}")
"""
"""A script whose error message contains the credentials that it was given."""


@dataclass(frozen=True)
class Published:
    """A version in a folder of this machine, copied to where it is served from as a user would copy it."""

    folder: Path
    digest: str

    @property
    def graph(self) -> str:
        """Digest of the version's graph alone."""
        return digest((self.folder / "model.onnx").read_bytes())


@pytest.fixture(scope="module")
def published(dev_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """The version `elsewhere/digits/1`, outside every namespace of the cluster."""
    root = tmp_path_factory.mktemp("store")
    version = publish_convnet(root, tmp_path_factory.mktemp("work"), namespace="elsewhere")
    return Published(root / VERSION, version.digest)


@pytest.fixture(scope="module")
def bucket(published: Published) -> Iterator[str]:
    """Address of an S3 server with the version in its bucket `models`."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "reader", "aws_secret_access_key": SECRET_KEY}
    s3 = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys)
    s3.create_bucket(Bucket="models")
    for path in published.folder.iterdir():
        s3.put_object(Bucket="models", Key=f"store/{VERSION}/{path.name}", Body=path.read_bytes())
    yield url
    server.stop()


@pytest.fixture(scope="module")
def web(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpsServer]:
    """An https server with the version and its lone graph, which requires a login."""
    server = HttpsServer(tmp_path_factory.mktemp("https"))
    server.password = PASSWORD
    for path in published.folder.iterdir():
        server.files[f"models/{VERSION}/{path.name}"] = path.read_bytes()
    server.files["lone.onnx"] = (published.folder / "model.onnx").read_bytes()
    yield server
    server.close()


@pytest.fixture(scope="module")
def secret(kube: Kube, bucket: str, web: HttpsServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Secret with which the namespace's pods read both."""
    netrc = tmp_path_factory.mktemp("secret") / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login user password {web.password}\n")
    variables = {
        "AWS_ACCESS_KEY_ID": "reader",
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_ENDPOINT_URL": bucket,
        "AWS_DEFAULT_REGION": "us-east-1",
        "SSL_CERT_FILE": f"{FILES}/ca.crt",
        "NETRC": f"{FILES}/netrc",
    }
    keys = [f"--from-literal={name}={value}" for name, value in variables.items()]
    keys += [f"--from-file=ca.crt={web.authority}", f"--from-file=netrc={netrc}"]
    done = kube.kubectl("create", "secret", "generic", "trainserve-store", *keys)
    assert done.returncode == 0, done.stderr
    return "trainserve-store"


@pytest.fixture(scope="module")
def serves(kube: Kube, secret: str, published: Published, web: HttpsServer) -> dict[str, Object]:
    """The ModelServes, created side by side."""
    s3, https = f"s3://models/store/{VERSION}", web.uri(f"models/{VERSION}")
    lone = {"uri": web.uri("lone.onnx"), "digest": published.graph}
    specs = {
        "from-s3": {"uri": s3, "digest": published.digest},
        "from-https": {"uri": https, "digest": published.digest},
        "lone": lone,
        "wrong-s3": {"uri": s3, "digest": WRONG},
        "wrong-https": {"uri": https, "digest": WRONG},
        "wrong-lone": lone | {"digest": WRONG},
    }
    return {name: kube.create("ModelServe", name, {"model": model}) for name, model in specs.items()}


def judged(kube: Kube, name: str, verdict: str) -> Object:
    """Wait until the ModelServe is ready and its probe has reported this verdict; return the ModelServe."""
    return kube.wait(
        "ModelServe", name, lambda serve: is_true(serve, "Ready") and condition(serve, "Verified")["reason"] == verdict
    )


def answered(kube: Kube, serve: str, model: str) -> np.ndarray:
    """Return the service's answers to eight images that are not among the recorded samples."""
    address = kube.kubectl("get", "service", serve, "-o", "jsonpath={.spec.clusterIP}").stdout
    question = images(8, seed=2)
    tensor = tritonclient.http.InferInput("images", list(question.shape), "UINT8")
    tensor.set_data_from_numpy(question)
    client = tritonclient.http.InferenceServerClient(f"{address}:8000")
    try:
        return np.asarray(client.infer(model, [tensor]).as_numpy("probabilities"))
    finally:
        client.close()


@pytest.mark.parametrize("name", ["from-s3", "from-https"])
def test_a_version_from_elsewhere_is_served_verified_and_answers_right(
    kube: Kube, serves: dict[str, Object], published: Published, name: str
) -> None:
    serve = judged(kube, name, "SamplesMatch")
    assert (serve["status"]["version"], serve["status"]["digest"]) == (1, published.digest)
    assert answered(kube, name, "digits") == pytest.approx(answers(convnet(), images(8, seed=2)), abs=1e-5)


def test_a_lone_graph_is_served_under_the_modelserves_name(kube: Kube, serves: dict[str, Object]) -> None:
    serve = judged(kube, "lone", "NothingRecorded")
    assert "version" not in serve["status"]
    assert answered(kube, "lone", "lone") == pytest.approx(answers(convnet(), images(8, seed=2)), abs=1e-5)


@pytest.mark.parametrize("name", ["wrong-s3", "wrong-https", "wrong-lone"])
def test_what_is_not_meant_is_refused_with_both_digests(
    kube: Kube, serves: dict[str, Object], published: Published, name: str
) -> None:
    serve = kube.wait("ModelServe", name, lambda serve: condition(serve, "Verified").get("reason") == "DigestMismatch")
    message = condition(serve, "Verified")["message"]
    assert WRONG in message
    assert (published.graph if name == "wrong-lone" else published.digest) in message
    assert not is_true(serve, "Ready")


def test_what_a_dying_script_tells_of_the_secret_is_masked_in_status_and_events(kube: Kube, secret: str) -> None:
    made = kube.kubectl("create", "configmap", "talker", f"--from-literal=train.py={TALKER}")
    assert made.returncode == 0, made.stderr
    kube.create("TrainJob", "talker", {"model": {"script": "configmap://talker/train.py"}, "policy": {"retries": 0}})
    job = kube.finished("talker")
    message = "of all variables and files: ['<AWS_SECRET_ACCESS_KEY>', '<netrc>"
    assert message in condition(job, "Failed")["message"]
    events = json.loads(kube.kubectl("get", "events", "-o", "json").stdout)["items"]
    assert any(message in event["message"] for event in events)
    for value in (SECRET_KEY, PASSWORD):
        assert value not in json.dumps([job, events])
