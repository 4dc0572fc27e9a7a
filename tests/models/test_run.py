"""A whole run as in a pod: its messages, what it publishes, and how it ends."""

import hashlib
import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainserve import store
from trainserve.models.errors import GateNotMet, ParityFailed, PublishFailed, UserError
from trainserve.serving.sources.source import open_servable

from .conftest import Config, FinishedRun, Pod, digits_config

FILES = ("model.onnx", "samples.npz", "report.html")

Execute = Callable[[Config], dict[str, Any]]


def test_the_run_publishes_and_says_so_in_the_contracts_form(digits_run: FinishedRun) -> None:
    message = digits_run.message
    assert message["outcome"] == "Published"
    assert message["progress"]["percent"] == 100
    assert message["result"]["accuracy"] >= 0.95
    assert message["result"]["samplesPerSecond"] > 100
    energy = message["result"]["energy"]
    assert message["result"]["energyJoules"] == energy["joules"]
    assert (energy["joules"] is None) == (energy["source"] == "none") == bool(energy["reason"])
    content = (digits_run.version / "manifest.json").read_bytes()
    assert message["artifact"] == {
        "uri": "pvc://trainserve-models/default/digits/1",
        "version": 1,
        "digest": "sha256:" + hashlib.sha256(content).hexdigest(),
        "bytes": sum((digits_run.version / name).stat().st_size for name in FILES),
        "opset": 18,
        "precision": "fp32",
        "parity": {name: json.loads(content)["parity"][name] for name in ("maxAbs", "maxRel")},
    }


def test_the_last_line_of_stdout_is_the_termination_message(digits_run: FinishedRun) -> None:
    assert json.loads(digits_run.stdout.splitlines()[-1]) == digits_run.message


def test_stdout_tells_every_step_in_plain_lines_and_stderr_is_silent(digits_run: FinishedRun) -> None:
    for step in (
        "data: digits: 14",
        "model: convnet",
        "epoch 5/5",
        "test split: accuracy",
        "exported: opset 18",
        "parity:",
    ):
        assert step in digits_run.stdout
    assert "\x1b" not in digits_run.stdout
    assert digits_run.stderr == ""


def test_progress_is_served_before_torch_is_imported(digits_run: FinishedRun) -> None:
    assert digits_run.first_answer["percent"] == 0
    assert set(digits_run.first_answer) == {"formatVersion", "percent", "updatedTime"}
    assert not digits_run.torch_was_loaded_then


def test_progress_follows_the_training(digits_run: FinishedRun) -> None:
    progress = digits_run.while_training
    assert progress["epochs"] == 5
    assert 1 <= progress["epoch"] <= 5
    assert 0 < progress["percent"] <= 90
    assert progress["loss"] > 0
    assert 0 <= progress["accuracy"] <= 1
    assert progress["etaSeconds"] >= 0


def test_metrics_are_prometheus_text(digits_run: FinishedRun) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    families = {family.name: family for family in text_string_to_metric_families(digits_run.metrics)}
    assert {"trainserve_train_loss", "trainserve_train_accuracy", "trainserve_train_samples"} <= families.keys()
    steps = {sample.name: sample.value for sample in families["trainserve_train_step_duration_seconds"].samples}
    assert steps["trainserve_train_step_duration_seconds_count"] > 1
    assert steps["trainserve_train_step_duration_seconds_sum"] > 0


def test_the_manifest_is_what_the_contract_shows(digits_run: FinishedRun) -> None:
    manifest = json.loads((digits_run.version / "manifest.json").read_text())
    assert manifest["inputs"] == [{"name": "images", "dtype": "uint8", "shape": [-1, 28, 28, 1], "indexes": None}]
    assert manifest["outputs"] == [{"name": "probabilities", "dtype": "float32", "shape": [-1, 10], "indexes": None}]
    assert manifest["labels"] == [str(digit) for digit in range(10)]
    assert manifest["opset"] == 18
    assert manifest["irVersion"] <= 10
    assert manifest["preprocessing"]["scale"] == pytest.approx(1 / 255)
    assert manifest["metrics"]["accuracy"] == digits_run.message["result"]["accuracy"]
    assert manifest["parity"]["samples"] == 256
    assert 0 < manifest["parity"]["maxAbs"] < 1e-4
    assert (manifest["parity"]["rtol"], manifest["parity"]["atol"]) == (1e-3, 1e-5)
    assert manifest["energy"] == digits_run.message["result"]["energy"]
    assert manifest["trainJob"] == {"name": "digits", "uid": "uid-1", "attempt": 1}
    assert manifest["spec"]["trainer"]["epochs"] == 5
    assert manifest["spec"]["dataset"]["name"] == "digits"
    open_servable(str(digits_run.version))


def test_samples_hold_real_inputs_with_torchs_outputs_and_the_truth(digits_run: FinishedRun) -> None:
    with np.load(digits_run.version / "samples.npz") as samples:
        images, outputs, labels = samples["images"], samples["probabilities"], samples["labels"]
    assert (images.shape, images.dtype) == ((64, 28, 28, 1), np.uint8)
    assert (outputs.shape, outputs.dtype) == ((64, 10), np.float32)
    assert (labels.shape, labels.dtype) == ((64,), np.int64)
    assert (outputs.argmax(axis=1) == labels).mean() > 0.9
    assert outputs.sum(axis=1) == pytest.approx(np.ones(64), abs=1e-5)


def test_a_second_attempt_of_the_same_trainjob_reports_the_version_that_is_there(
    digits_run: FinishedRun, execute: Execute
) -> None:
    again = execute({**digits_run.config, "job": {**digits_run.config["job"], "attempt": 2}})
    assert again["outcome"] == "Published"
    assert again["artifact"] == digits_run.message["artifact"]
    assert again["result"]["accuracy"] == digits_run.message["result"]["accuracy"]
    assert store.versions(digits_run.root, "default", "digits") == [1]


def test_sigterm_in_training_ends_the_run_with_143_and_nothing_published(
    start_pod: Callable[..., Pod], tmp_path: Path
) -> None:
    pod = start_pod(digits_config(tmp_path, trainer={"epochs": 10_000}))
    pod.wait_for(lambda progress: progress.get("step", 0) > 1)
    pod.process.send_signal(signal.SIGTERM)
    code, _, err = pod.finish()
    assert (code, err) == (143, "")
    assert (pod.message["outcome"], pod.message["reason"]) == ("Failed", "Interrupted")
    assert pod.message["progress"]["step"] > 1
    assert store.versions(tmp_path, "default", "digits") == []


def test_sigterm_before_training_ends_the_run_with_143(start_pod: Callable[..., Pod], tmp_path: Path) -> None:
    pod = start_pod(digits_config(tmp_path))
    pod.get("/healthz")
    pod.process.send_signal(signal.SIGTERM)
    code, _, _ = pod.finish()
    assert code == 143
    assert pod.message["reason"] == "Interrupted"


def test_a_gate_that_is_not_met_publishes_nothing(execute: Execute, tmp_path: Path) -> None:
    config = digits_config(tmp_path / "store", trainer={"epochs": 1}, gates={"minAccuracy": 1.0})
    with pytest.raises(GateNotMet, match=r"gates\.minAccuracy: accuracy 0\.\d{4} is below 1"):
        execute(config)
    assert not (tmp_path / "store").exists()


def test_parity_that_cannot_be_met_publishes_nothing(execute: Execute, tmp_path: Path) -> None:
    config = digits_config(tmp_path / "store", trainer={"epochs": 1}, export={"parity": {"rtol": 0, "atol": 0}})
    with pytest.raises(
        ParityFailed, match=r"export\.parity: onnxruntime differs from PyTorch by .*; must be at most 0 \+ 0"
    ):
        execute(config)
    assert not (tmp_path / "store").exists()


def test_a_store_that_cannot_be_written_is_named_before_anything_is_read(execute: Execute, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = digits_config(tmp_path / "file", dataset={"name": None, "path": "/nowhere.npz"})
    with pytest.raises(PublishFailed, match=r"cannot publish to .*/file/.*: Not a directory"):
        execute(config)


def test_a_full_disk_at_publish_ends_the_run_with_13_and_earlier_versions_as_they_were(
    digits_run: FinishedRun, start_pod: Callable[..., Pod], tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.decode()}")
    try:
        shutil.copytree(digits_run.root / "default", small / "default")
        config = digits_config(small, job={"uid": "uid-2"}, trainer={"epochs": 1}, gates={"minAccuracy": 0.1})
        pod = start_pod(config)
        code, _, err = pod.finish()
        assert (code, err) == (13, "")
        assert pod.message["reason"] == "StoreError"
        assert pod.message["message"].startswith(f"cannot publish to {small}/default/digits/")
        assert pod.message["message"].endswith("No space left on device")
        assert pod.message["result"]["accuracy"] > 0.1
        assert store.versions(small, "default", "digits") == [1]
        open_servable(f"{small}/default/digits/1")
        assert sorted(path.name for path in (small / "default/digits").iterdir()) == [".lock", "1"]
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_scratch_folder_that_cannot_be_made_is_named(
    execute: Execute, stripes: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRAINSERVE_OUTPUT", str(tmp_path / "file" / "output"))
    with pytest.raises(PublishFailed, match=r"cannot write .*/file/output: Not a directory"):
        execute({"model": {"name": "convnet"}, "dataset": {"path": str(stripes())}, "trainer": {"epochs": 1}})


def test_without_output_the_run_trains_and_publishes_nothing(
    execute: Execute, stripes: Callable[..., Path], tmp_path: Path
) -> None:
    message = execute({"model": {"name": "convnet"}, "dataset": {"path": str(stripes())}, "trainer": {"epochs": 20}})
    assert message["outcome"] == "Trained"
    assert message["result"]["accuracy"] == 1.0
    assert "artifact" not in message


def test_float_images_of_the_users_own_are_served_as_they_are(
    execute: Execute, stripes: Callable[..., Path], tmp_path: Path
) -> None:
    random = np.random.default_rng(1)
    y = np.arange(80) % 2
    x = (random.normal(-300, 10, (80, 6, 9, 3)) + 40 * y[:, None, None, None]).astype(np.float64)
    message = execute(
        {
            **digits_config(tmp_path / "store"),
            "dataset": {"path": str(stripes(x=x, y=y.astype(np.uint8)))},
        }
    )
    assert message["result"]["accuracy"] >= 0.95
    manifest = store.manifest(tmp_path / "store", "default", "digits", 1)
    assert manifest.inputs == [store.Tensor(name="images", dtype="float32", shape=[-1, 6, 9, 3])]
    assert manifest.preprocessing.mean[0] == pytest.approx(-280, abs=2)


def test_a_loss_that_is_no_number_stops_the_run_and_names_step_and_rate(
    execute: Execute, stripes: Callable[..., Path]
) -> None:
    x = np.full((60, 8, 8), 1e30, dtype=np.float32)
    x[::2] = -1e30
    config = {
        "model": {"name": "convnet"},
        "dataset": {"path": str(stripes(x=x))},
        "trainer": {"optimizer": "sgd", "learningRate": 10, "epochs": 50},
    }
    with pytest.raises(
        UserError, match=r"trainer\.learningRate: loss is (nan|inf) at step \d+ with rate 10; must be smaller"
    ):
        execute(config)


@pytest.mark.parametrize(
    ("config", "code", "reason", "text"),
    [
        ("{", 1, "ConfigError", "not JSON"),
        ({"model": {"name": "convnte"}, "dataset": {"name": "digits"}}, 1, "ConfigError", "did you mean 'convnet'?"),
        ({"model": {"name": "convnet"}, "dataset": {"path": "/nowhere.npz"}}, 12, "DataError", "/nowhere.npz: No such"),
    ],
)
def test_a_run_that_cannot_start_ends_with_the_contracts_code_and_one_line(
    start_pod: Callable[..., Pod], config: Config | str, code: int, reason: str, text: str
) -> None:
    pod = start_pod(config)
    returned, out, err = pod.finish()
    assert (returned, err) == (code, "")
    assert (pod.message["outcome"], pod.message["reason"]) == ("Failed", reason)
    assert text in pod.message["message"]
    assert json.loads(out.splitlines()[-1]) == pod.message
