"""Every invalid input is answered with the field, the value and what is allowed, and changes nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cluster.support import Kube, Object, command, condition, digits, is_true, wait_for
from trainserve.api.trainjob import IMMUTABLE
from trainserve.dev.cluster import Cluster
from trainserve.dev.kube import ApiError

FEW = {"epochs": 1, "seed": 7}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (digits(trainer={"batchSize": 0}), "spec.trainer.batchSize"),
        (digits(gates={"minAccuracy": 1.5}), "spec.gates.minAccuracy"),
        (digits(resources={"gpus": -1}), "spec.resources.gpus"),
        (digits(trainer={"epochs": "five"}), "spec.trainer.epochs"),
        (digits(output={"model": "Not_A_Name"}), "spec.output.model"),
    ],
)
def test_the_schema_refuses_it_at_apply(kube: Kube, spec: Object, said: str) -> None:
    with pytest.raises(ApiError) as refused:
        kube.create("TrainJob", "refused", spec)
    assert refused.value.status == 422
    assert said in refused.value.message


def test_kubectl_refuses_an_unknown_field(kube: Kube) -> None:
    manifest = """
apiVersion: trainserve.io/v1alpha1
kind: TrainJob
metadata: {name: typo}
spec:
  model: {name: convnet}
  dataset: {name: digits}
  output: {model: digits}
  trainer: {epocs: 3}
"""
    # A new cluster accepts its kinds shortly before it publishes the schema that kubectl validates with.
    wait_for(lambda: kube.kubectl("explain", "tsj.spec.trainer").returncode == 0, 60, lambda: "no schema published")
    done = kube.kubectl("apply", "-f", "-", stdin=manifest)
    assert done.returncode != 0
    assert "epocs" in done.stderr


@pytest.mark.parametrize(
    ("name", "spec", "reason", "said"),
    [
        ("both", digits(model={"name": "convnet", "command": ["true"]}), "Invalid", "spec.model"),
        ("no-output", {"model": {"name": "convnet"}, "dataset": {"name": "digits"}}, "Invalid", "output is required"),
        ("n" * 62, digits(), "Invalid", "metadata.name"),
        ("suspended", digits(policy={"suspend": True}), "NotSupported", "spec.policy.suspend"),
        ("slice", digits(resources={"gpus": 1, "gpu": {"mig": "1g.10gb"}}), "NotSupported", "spec.resources.gpu.mig"),
        ("own", command("true", trainer={"epochs": 9}), "NotSupported", "spec.trainer"),
        ("unknown-model", digits(model={"name": "resnet81"}), "Invalid", "did you mean 'resnet18'"),
        ("unknown-data", digits(dataset={"name": "digit"}), "Invalid", "did you mean 'digits'"),
        (
            "unknown-option",
            digits(model={"name": "lstm", "options": {"hiddenn": 8}}),
            "Invalid",
            "did you mean 'hidden'?",
        ),
        ("momentum", digits(trainer={"momentum": 0.5}), "Invalid", "spec.trainer.momentum"),
        ("crowd", digits(resources={"gpus": 1}, workers={"processesPerNode": 2}), "Invalid", "processesPerNode"),
    ],
)
def test_the_operator_refuses_it_and_starts_nothing(
    kube: Kube, name: str, spec: Object, reason: str, said: str
) -> None:
    try:
        kube.create("TrainJob", name, spec)
    except ApiError as refused:  # a server with CEL refuses it at apply
        assert said in refused.message
        return
    job = kube.wait("TrainJob", name, lambda job: condition(job, "Accepted"))
    accepted = condition(job, "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", reason)
    assert said in accepted["message"]
    assert kube.pods(trainjob=name) == []


@pytest.fixture(scope="module")
def failures(kube: Kube) -> dict[str, Object]:
    """Jobs whose errors only the pod can detect, run at the same time."""
    specs = {
        "gate-not-met": digits(trainer=FEW, gates={"minAccuracy": 1.0}),
        "own-code-fails": command("sh", "-c", "echo broken >&2; exit 3"),
        "no-such-program": command("/no/such/program"),
    }
    for name, spec in specs.items():
        kube.create("TrainJob", name, spec)
    return {name: kube.finished(name) for name in specs}


@pytest.mark.parametrize(
    ("name", "reason", "said"),
    [
        ("gate-not-met", "GateNotMet", "gates.minAccuracy"),
        ("own-code-fails", "UserError", "3"),
        ("no-such-program", "UserError", "/no/such/program"),
    ],
)
def test_the_run_fails_and_its_reason_says_why(failures: dict[str, Object], name: str, reason: str, said: str) -> None:
    failed = condition(failures[name], "Failed")
    assert (failed["status"], failed["reason"]) == ("True", reason), failed
    assert said in failed["message"]
    assert failures[name]["status"].get("artifact") is None


def test_more_gpus_than_any_node_has_is_unschedulable_in_the_schedulers_words(kube: Kube) -> None:
    kube.create("TrainJob", "greedy", digits(resources={"gpus": 16}))
    job = kube.wait("TrainJob", "greedy", lambda job: condition(job, "Scheduled").get("reason") == "Unschedulable")
    assert condition(job, "Scheduled")["status"] == "False"
    assert "nvidia.com/gpu" in condition(job, "Scheduled")["message"]
    kube.delete("TrainJob", "greedy")


def test_a_spec_cannot_change_once_the_run_has_started(kube: Kube) -> None:
    kube.create("TrainJob", "changed", command("sleep", "30"))
    kube.wait("TrainJob", "changed", lambda job: is_true(job, "Running"))
    patched = kube.kubectl(
        "patch", "tsj", "changed", "--type=merge", "-p", '{"spec": {"model": {"command": ["sleep", "31"]}}}'
    )
    if patched.returncode == 0:  # a server without CEL accepts it; the operator then reports it and keeps the run
        job = kube.wait("TrainJob", "changed", lambda job: condition(job, "Accepted").get("reason") == "SpecChanged")
        assert f"spec.model: {IMMUTABLE}" in condition(job, "Accepted")["message"]
        assert [pod["spec"]["containers"][0]["command"] for pod in kube.pods(trainjob="changed")] == [["sleep", "30"]]
    else:
        assert IMMUTABLE in patched.stderr
    kube.delete("TrainJob", "changed")


def test_deleting_a_trainjob_while_it_trains_leaves_nothing(kube: Kube) -> None:
    kube.create("TrainJob", "dropped", digits(trainer={"epochs": 500}, output={"model": "dropped"}))
    kube.wait("TrainJob", "dropped", lambda job: (job.get("status", {}).get("progress") or {}).get("epoch"))
    kube.delete("TrainJob", "dropped")
    wait_for(lambda: not kube.pods(trainjob="dropped"), 60, lambda: "its pods are still there")
    left = kube.kubectl("get", "all,configmaps", "-l", "trainserve.io/trainjob=dropped", "-o", "name").stdout
    assert left == ""
    if kube.cluster:
        assert not (kube.cluster.store / kube.namespace / "dropped").exists()


# Data sets from a claim


@pytest.fixture(scope="module")
def claim(kube: Kube, cluster: Cluster | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder that the claim `data` of the namespace is bound to."""
    if cluster is None:
        pytest.skip("binds a claim to a folder of this machine: development cluster only")
    folder = tmp_path_factory.mktemp("data")
    with kube.claim("data", folder):
        yield folder


def bad_files(folder: Path) -> dict[str, str]:
    """Write data set files; return for each what its error must mention. `missing.npz` is not written."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (200, 28, 28, 1), np.uint8), rng.integers(0, 10, 200)
    np.savez(folder / "whole.npz", x=images, y=labels)
    whole = (folder / "whole.npz").read_bytes()
    (folder / "truncated.npz").write_bytes(whole[: len(whole) // 2])
    np.savez(folder / "shape.npz", x=images.reshape(200, 784), y=labels)
    np.savez(folder / "lengths.npz", x=images, y=labels[:-1])
    return {"missing": "missing.npz", "truncated": "truncated.npz", "shape": "shape.npz", "lengths": "lengths.npz"}


def test_a_bad_data_set_file_is_named(kube: Kube, claim: Path) -> None:
    expected = bad_files(claim)
    for name, file in expected.items():
        kube.create("TrainJob", f"data-{name}", digits(dataset={"uri": f"pvc://data/{file}"}))
    for name, file in expected.items():
        failed = condition(kube.finished(f"data-{name}"), "Failed")
        assert failed["reason"] == "DataError", (name, failed)
        assert file in failed["message"], (name, failed)


def test_a_good_data_set_file_trains(kube: Kube, claim: Path) -> None:
    bad_files(claim)
    kube.create("TrainJob", "data-good", digits(dataset={"uri": "pvc://data/whole.npz"}, output={"model": "noise"}))
    job = kube.finished("data-good")
    assert is_true(job, "Complete"), job["status"]["conditions"]


# Publishing


@pytest.fixture
def store(dev_cluster: Cluster, kube: Kube) -> Path:
    """This namespace's folder of the model store."""
    folder = dev_cluster.store / kube.namespace
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize(("how", "said"), [("size=64k", "No space left"), ("ro", "Read-only file system")])
def test_a_store_that_cannot_be_written_fails_the_run_and_leaves_no_half_version(
    kube: Kube, store: Path, tmp_path: Path, how: str, said: str
) -> None:
    model = f"unwritable-{'full' if 'size' in how else 'ro'}"
    folder = store / model
    earlier = folder / "1"
    folder.mkdir()
    mounted = os.system(f"mount -t tmpfs -o {how.replace('ro', 'rw')} tmpfs {folder}") == 0
    if not mounted:
        pytest.skip("mounting is not allowed here")
    try:
        earlier.mkdir()
        (earlier / "manifest.json").write_text("{}")
        if how == "ro":
            assert os.system(f"mount -o remount,ro {folder}") == 0
        kube.create("TrainJob", model, digits(output={"model": model}))
        failed = condition(kube.finished(model), "Failed")
        assert failed["reason"] == "StoreError", failed
        assert said in failed["message"]
        assert (earlier / "manifest.json").read_text() == "{}"
        assert [path.name for path in folder.iterdir() if path.name.isdigit()] == ["1"]
    finally:
        os.system(f"umount -l {folder}")


# ModelServe


def unresolved(kube: Kube, name: str, model: Object, reason: str) -> str:
    """Create a ModelServe that cannot be resolved, wait for that reason, and return its message."""
    kube.create("ModelServe", name, {"model": model})
    serve = kube.wait("ModelServe", name, lambda serve: condition(serve, "ModelResolved").get("reason") == reason)
    assert condition(serve, "ModelResolved")["status"] == "False"
    assert not is_true(serve, "Ready")
    return str(condition(serve, "ModelResolved")["message"])


def test_a_modelserve_waits_for_a_trainjob_that_does_not_exist_and_says_so(kube: Kube) -> None:
    assert "no-such-job" in unresolved(kube, "early", {"trainJob": "no-such-job"}, "TrainJobNotFound")


def test_a_modelserve_of_a_failed_trainjob_says_so(kube: Kube, failures: dict[str, Object]) -> None:
    assert "GateNotMet" in unresolved(kube, "of-failed", {"trainJob": "gate-not-met"}, "TrainJobFailed")


@pytest.fixture(scope="module")
def published(kube: Kube) -> Object:
    """The artifact of a valid version of the model `served`."""
    kube.create("TrainJob", "good", digits(output={"model": "served"}))
    job = kube.finished("good")
    assert is_true(job, "Complete"), job["status"]["conditions"]
    return dict(job["status"]["artifact"])


def test_a_version_that_does_not_exist_is_named_with_those_that_do(kube: Kube, published: Object) -> None:
    message = unresolved(kube, "absent", {"name": "served", "version": 7}, "VersionNotFound")
    assert "7" in message
    assert "1" in message


def test_an_artifact_whose_bytes_were_changed_is_refused_with_both_digests(
    kube: Kube, dev_cluster: Cluster, published: Object, tmp_path: Path
) -> None:
    version = dev_cluster.store / kube.namespace / "served" / "1"
    shutil.copytree(version, tmp_path / "kept")
    model = version / "model.onnx"
    changed = bytearray(model.read_bytes())
    changed[-100] ^= 1
    model.write_bytes(changed)
    try:
        spec: dict[str, Any] = {"model": {"uri": published["uri"], "digest": published["digest"]}}
        kube.create("ModelServe", "tampered", spec)
        serve = kube.wait(
            "ModelServe", "tampered", lambda serve: condition(serve, "Verified").get("reason") == "DigestMismatch"
        )
        message = condition(serve, "Verified")["message"]
        assert message.count("sha256:") == 2, message
        assert "model.onnx" in message
        assert not is_true(serve, "Ready")
    finally:
        shutil.copy(tmp_path / "kept" / "model.onnx", model)
        kube.delete("ModelServe", "tampered")
