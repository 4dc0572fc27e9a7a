"""Effects of settings on a running server of real graphs: statistics, threads, versions, ensembles."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import psutil
import pytest

from tests.serving import gated
from tests.serving.graphs import convnet
from tests.serving.versions import LABELS, answers, images, publish_convnet
from trainserve.client import Client, DeadlineExceeded
from trainserve.serving.devserver import config_check
from trainserve.serving.devserver.server import DevelopmentServer
from trainserve.serving.protocol.control import Control
from trainserve.serving.repository import unbatched
from trainserve.serving.repository.model_config import config_text
from trainserve.serving.repository.repository import Entry, entries, layout, server_flags, write
from trainserve.serving.repository.settings import Settings
from trainserve.serving.sources.servable import Servable
from trainserve.store import Preprocessing, Tensor

MEAN, STD = 0.3, 0.5


def settings(**fields: Any) -> Settings:
    return Settings.model_validate(fields)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> list[Servable]:
    """Versions 1, 2 and 3 of default/digits, each with its own weights."""
    folder = tmp_path_factory.mktemp("versions")
    for seed in range(3):
        publish_convnet(folder / "store", folder / f"work{seed}", seed=seed)
    return [Servable.of_version(folder / f"store/default/digits/{number}") for number in (1, 2, 3)]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Servable:
    """The convnet without preprocessing and softmax, planes to logits; the manifest describes the preprocessing."""
    folder = tmp_path_factory.mktemp("bare")
    onnx.save(
        onnx.utils.Extractor(onnx.shape_inference.infer_shapes(convnet())).extract_model(["planes"], ["logits"]),
        folder / "model.onnx",
    )
    return Servable(
        name="bare",
        folder=folder,
        digest="",
        files=("model.onnx",),
        inputs=(Tensor(name="planes", dtype="float32", shape=[-1, 1, 28, 28]),),
        outputs=(Tensor(name="logits", dtype="float32", shape=[-1, 10]),),
        labels=tuple(LABELS),
        preprocessing=Preprocessing(scale=1 / 255, mean=[MEAN], std=[STD], by="client"),
    )


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Entry:
    """A gated model with an unbounded queue."""
    return gated.entry(tmp_path_factory.mktemp("waiting"), "waiting", dynamicBatching={"maxBatch": 4})


@pytest.fixture(scope="module")
def server(
    command: Path,
    versions: list[Servable],
    bare: Servable,
    waiting: Entry,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[DevelopmentServer]:
    folder = tmp_path_factory.mktemp("configured")
    wanted = [
        *entries(versions, settings(versionPolicy=[1, 3])),
        *(replace(entry, name="newest") for entry in entries(versions[:2], Settings())),
        Entry("cold", versions[0]),
        Entry("warm", versions[0], settings(warmup=True, threads=4, dynamicBatching={"maxBatch": 8})),
        Entry("bare", bare, settings(ensemble={"top": 3, "softmax": True})),
        waiting,
    ]
    write(wanted, folder / "models")
    flags = server_flags([entry.settings for entry in wanted])
    running = DevelopmentServer(command, folder / "models", folder / "log", "--disable-auto-complete-config", *flags)
    running.start()
    yield running
    running.kill()


def ask(server: DevelopmentServer, method: str, path: str, body: Any = None) -> Any:
    connection = http.client.HTTPConnection(server.url, timeout=30)
    try:
        connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def infer(server: DevelopmentServer, model: str, given: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Return every output of `model`, which may be <name>/versions/<number>, for uint8 images."""
    tensor = {"name": "images", "shape": list(given.shape), "datatype": "UINT8", "data": given.ravel().tolist()}
    answer = ask(server, "POST", f"/v2/models/{model}/infer", {"inputs": [tensor]})
    assert "outputs" in answer, answer
    return {each["name"]: np.array(each["data"]).reshape(each["shape"]) for each in answer["outputs"]}


def batches(server: DevelopmentServer, model: str) -> list[int]:
    """Return the sizes of the batches that the model has run."""
    (found,) = ask(server, "GET", f"/v2/models/{model}/stats")["model_stats"]
    return [each["batch_size"] for each in found["batch_stats"]]


def test_warm_up_runs_a_sample_alone_and_in_a_full_batch_before_anybody_asks(server: DevelopmentServer) -> None:
    assert batches(server, "warm") == [1, 8]
    assert batches(server, "cold") == []


def test_an_instance_has_as_many_threads_as_it_was_given(command: Path, bare: Servable, tmp_path: Path) -> None:
    """One of `threads` is the instance's own. Loading the first model also starts threads created on demand."""
    threads = {"first": 1, "one": 1, "four": 4}
    write([Entry(name, bare, Settings(threads=number)) for name, number in threads.items()], tmp_path / "models")
    explicit = "--model-control-mode=explicit"
    with DevelopmentServer(command, tmp_path / "models", tmp_path / "log", explicit) as server:
        assert server.process is not None
        (triton,) = psutil.Process(server.process.pid).children()
        counts = []
        for name in threads:
            Control(server.url, 60).load(name)
            counts.append(settled(triton.num_threads))
    first, one, four = counts
    assert (four - one) - (one - first) == 3


def settled(count: Callable[[], int]) -> int:
    """Return the count once it has not changed for a second."""
    deadline, same, last = time.monotonic() + 60, 0, -1
    while same < 20:
        assert time.monotonic() < deadline
        time.sleep(0.05)
        found = count()
        same, last = (same + 1 if found == last else 0), found
    return last


def test_the_versions_that_the_policy_names_are_served_and_no_other(server: DevelopmentServer) -> None:
    index = ask(server, "POST", "/v2/repository/index", {})
    ready = {(each["name"], each["version"]) for each in index if each.get("state") == "READY"}
    assert {version for name, version in ready if name == "digits"} == {"1", "3"}
    assert {version for name, version in ready if name == "newest"} == {"2"}
    for seed, version in enumerate("123"):
        if version != "2":
            got = infer(server, f"digits/versions/{version}", images(2))["probabilities"]
            np.testing.assert_allclose(got, answers(convnet(seed=seed), images(2)), rtol=1e-4, atol=1e-6)


def expected(given: np.ndarray[Any, Any], bare: Servable) -> np.ndarray[Any, Any]:
    """Return probabilities computed by plain onnxruntime with the manifest's preprocessing."""
    planes = ((given.astype(np.float32) / 255 - MEAN) / STD).transpose(0, 3, 1, 2)
    session = onnxruntime.InferenceSession(bare.folder / "model.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"planes": planes.astype(np.float32)})
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_an_ensemble_takes_raw_images_and_answers_with_labels(server: DevelopmentServer, bare: Servable) -> None:
    given = images(5)
    answer = infer(server, "bare-ensemble", given)
    probabilities = expected(given, bare)
    best = np.argsort(-probabilities, axis=1)[:, :3]
    assert answer["labels"].tolist() == np.array(LABELS)[best].tolist()
    np.testing.assert_allclose(answer["scores"], np.take_along_axis(probabilities, best, axis=1), rtol=1e-4, atol=1e-6)
    assert [batches(server, f"bare{step}")[-1] for step in ("-preprocessing", "", "-labels")] == [5, 5, 5]


def test_the_ensembles_text_is_sent_over_grpc_too(server: DevelopmentServer, bare: Servable) -> None:
    with Client(server.grpc_url, "grpc") as client:
        answer = client.infer(client.model("bare-ensemble"), {"images": images(1)})
    assert answer["labels"][0, 0].decode() == LABELS[int(expected(images(1), bare).argmax())]


def test_a_grpc_request_whose_deadline_passed_is_not_run_though_its_queue_has_no_bounds(
    server: DevelopmentServer, waiting: Entry
) -> None:
    """Except for requests already batched: two batches for each instance, on a server without a rate limiter."""
    with gated.asking(server, waiting) as model, Client(server.grpc_url, "grpc", timeout=0.5, retries=0) as client:
        described = client.model("waiting")

        def impatient(number: int) -> None:
            with pytest.raises(DeadlineExceeded):
                client.infer(described, {"number": np.array([[number]])})

        model.ask(0)
        model.wait_for_executions(1)
        for gone in [model.pool.submit(impatient, number) for number in range(1, 25)]:
            gone.result()
        model.open(seconds=0.1)  # the server notices expired deadlines slightly later than the client
        model.wait_for_pending(0)
        executed = sum(len(numbers) for numbers in model.journal()) - 1
        assert executed <= 8
        assert model.metric("nv_inference_request_failure", reason="CANCELED") == 24 - executed


def checked(command: Path, model: Servable, gpus: int = 0, **fields: Any) -> list[str]:
    """Return the server's refusals of these settings, one line each."""
    wanted = settings(**fields)
    folders = layout([Entry(model.name, model, wanted)], gpus)
    return [str(refusal) for refusal in config_check.check(command, folders, server_flags([wanted]))]


EVERYTHING = {
    "instances": 2,
    "threads": 2,
    "batchAxis": "first",
    "dynamicBatching": {
        "maxBatch": 8,
        "preferredBatchSizes": [2, 4],
        "maxQueueDelay": "1ms",
        "queue": {"size": 100, "timeout": "50ms"},
    },
    "priorities": {"levels": 3, "default": 2},
    "warmup": True,
    "responseCache": True,
    "tensorRT": {"precision": "fp16"},
    "rateLimiter": {"resources": {"memory": 2}, "priority": 3},
    "versionPolicy": "all",
    "ensemble": {"top": 2},
    "overrides": {"optimization": {"priority": "PRIORITY_MIN"}, "metricTags": {"team": "vision"}},
}
"""A value other than the default for each field."""


def test_the_server_understands_every_setting_as_it_was_meant(command: Path, bare: Servable) -> None:
    assert settings(**EVERYTHING).model_fields_set == set(Settings.model_fields), "or a field is left out here"
    assert checked(command, bare, gpus=1, **EVERYTHING) == []


def test_whatever_the_settings_a_model_can_be_served_without_batches(command: Path, versions: list[Servable]) -> None:
    """Covers a version with recorded samples and a lone graph: the layout used when the batching trial fails."""
    wanted = settings(**EVERYTHING | {"batchAxis": "auto", "tensorRT": None})
    alone = wanted.model_copy(update={"batch_axis": "none"})
    for model in (versions[0], replace(versions[0], manifest=None)):
        entries = [Entry("digits", model, wanted)]
        prepared = unbatched.of(entries, layout(entries))["digits"].configs
        folders = layout([Entry("digits", model, alone)])
        assert prepared == {folder.config.name: config_text(folder.config) for folder in folders}
        assert {folder.config.max_batch_size for folder in folders} == {0}
        assert config_check.check(command, folders, server_flags([alone])) == []


def test_a_batch_that_an_override_asks_for_is_not_taken_back(versions: list[Servable]) -> None:
    entries = [Entry("digits", versions[0], settings(overrides={"max_batch_size": 4}))]
    assert not unbatched.of(entries, layout(entries))["digits"].configs


def test_a_graph_of_a_fixed_batch_is_warmed_up_and_has_a_queue_too(command: Path, tmp_path: Path) -> None:
    """It has no recorded samples either, so it is warmed up with zeros."""
    onnx.save(convnet(batch=2), tmp_path / "model.onnx")
    fixed = Servable(
        name="fixed",
        folder=tmp_path,
        digest="",
        files=("model.onnx",),
        inputs=(Tensor(name="images", dtype="uint8", shape=[2, 28, 28, 1]),),
        outputs=(Tensor(name="probabilities", dtype="float32", shape=[2, 10]),),
    )
    queue = {"queue": {"timeout": "50ms"}}
    assert checked(command, fixed, warmup=True, dynamicBatching=queue, priorities={"levels": 2}) == []


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"max_batch_size": -1}, "model digits: 'max_batch_size' must be non-negative value for digits"),
        ({"backend": "nobody's"}, "unable to find backend library for backend 'nobody's'"),
        (
            {"model_metrics": {"metric_control": [{"metric_identifier": {"family": "x"}}]}},
            'has no field named "model_metrics"',  # tritonclient's release knows the field, the server's does not
        ),
        ({"input": [{"name": "pixels", "data_type": "TYPE_UINT8", "dims": [28, 28, 1]}]}, "pixels"),
    ],
)
def test_overrides_that_the_server_does_not_take_are_told_in_its_words(
    command: Path, versions: list[Servable], overrides: dict[str, Any], words: str
) -> None:
    (refusal,) = checked(command, versions[0], overrides=overrides, warmup="input" in overrides)
    assert words in refusal


def test_what_the_server_understands_otherwise_is_told_by_field() -> None:
    meant = {"max_batch_size": 8, "instance_group": [{"count": 2}], "parameters": {"threads": {"string_value": "2"}}}
    answered = {"max_batch_size": 4, "instance_group": [{"count": 2, "name": "digits_0"}], "default_model": "x"}
    assert list(config_check.differences(meant, answered)) == [
        "max_batch_size: meant 8, the server has 4",
        'parameters: meant {"threads": {"string_value": "2"}}, the server has nothing',
    ]


def test_a_sample_that_the_model_cannot_run_keeps_it_from_being_ready(
    command: Path, versions: list[Servable], tmp_path: Path
) -> None:
    """Warm-up is a real inference: an error that would fail every request fails the start."""
    (tmp_path / "model.onnx").write_bytes((versions[0].folder / "model.onnx").read_bytes())
    np.savez(tmp_path / "samples.npz", images=images(1)[:, :20])
    (refusal,) = checked(command, replace(versions[0], folder=tmp_path), warmup=True)
    assert "unexpected shape for input 'images'" in refusal
