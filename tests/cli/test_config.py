"""`trainserve config`: its output, and that a real server loads it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from google.protobuf import text_format

from tests.batching.graphs import B, model, node, numbers, tensor
from tests.cli.conftest import Trainserve
from trainserve.serving.protocol.triton_types import messages


@pytest.fixture
def version(root: Path) -> Path:
    return root / "default/digits/1"


def settings(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text)
    return path


def test_the_text_of_one_model_is_a_whole_config_pbtxt(trainserve: Trainserve, version: Path, tmp_path: Path) -> None:
    path = settings(tmp_path, "dynamicBatching: {maxBatch: 12}\nresponseCache: true\n")
    finished = trainserve("config", version, "--settings", path)
    assert (finished.status, finished.err) == (0, "")
    assert finished.out.startswith("# tritonserver --cache-config=local,size=67108864\n")
    config = text_format.Parse(finished.out, messages().ModelConfig())
    assert (config.name, config.max_batch_size, config.response_cache.enable) == ("digits", 12, True)


def test_a_release_with_a_latency_histogram_is_told_its_buckets_and_the_check_leaves_them_out(
    trainserve: Trainserve, version: Path
) -> None:
    finished = trainserve("config", version, "--release", "26.08", "--p99", "20ms", "--check")
    assert finished.status == 0, finished.err
    assert finished.out.startswith("# tritonserver --metrics-config=histogram_latencies=true\n")
    (control,) = text_format.Parse(finished.out, messages().ModelConfig()).model_metrics.metric_control
    assert control.metric_identifier.family == "nv_inference_first_response_histogram_ms"
    assert 19.9999 in control.histogram_options.buckets
    assert "model_metrics is not checked: the development server, Triton 24.10" in finished.err
    assert "model_metrics" not in trainserve("config", version, "--release", "25.12").out
    assert "model_metrics" not in trainserve("config", version).out


def test_an_unknown_release_and_an_objective_that_is_none_are_usage_errors(
    trainserve: Trainserve, version: Path
) -> None:
    assert "'19.01' is not known; known are" in trainserve("config", version, "--release", "19.01").err
    assert "'soon' is not a duration" in trainserve("config", version, "--release", "26.08", "--p99", "soon").err


def test_all_models_of_an_ensemble_are_printed_and_taken_by_the_server(
    trainserve: Trainserve, version: Path, tmp_path: Path
) -> None:
    finished = trainserve("config", version, "--settings", settings(tmp_path, "ensemble: {top: 2}"), "--check")
    assert finished.status == 0, finished.err
    assert [line for line in finished.out.splitlines() if line.startswith("#")] == [
        "# digits/config.pbtxt",
        "# digits-labels/config.pbtxt",
        "# digits-ensemble/config.pbtxt",
    ]
    assert finished.err.splitlines()[-1] == (
        "trainserve: the server accepts the configuration: digits, digits-labels, digits-ensemble"
    )


def test_a_graph_that_is_not_batched_says_why(trainserve: Trainserve, tmp_path: Path) -> None:
    x, y = tensor("x", [B, 4]), tensor("y", [B, 4])
    onnx.save(model([node("CumSum", "x zero", "y")], [x], [y], [numbers("zero", 0)]), tmp_path / "summed.onnx")
    finished = trainserve("config", tmp_path / "summed.onnx")
    assert finished.status == 0
    assert text_format.Parse(finished.out, messages().ModelConfig()).max_batch_size == 0
    assert finished.err == (
        "trainserve: summed is not batched: CumSum 'y': it adds up along axis 0, the batch axis: "
        "rows of different requests would be mixed\n"
    )


def test_what_the_server_does_not_take_is_told_in_its_words_with_exit_1(
    trainserve: Trainserve, version: Path, tmp_path: Path
) -> None:
    path = settings(tmp_path, "overrides: {max_batch_size: -1}")
    finished = trainserve("config", version, "--settings", path, "--check")
    assert finished.status == 1
    assert (
        "the server does not accept the configuration: model digits: 'max_batch_size' must be non-negative"
        in finished.err
    )


def test_a_ready_repository_is_printed_and_checked_as_it_is(
    trainserve: Trainserve, fetched: Path, version: Path, tmp_path: Path
) -> None:
    finished = trainserve("config", fetched / "repository", "--check")
    assert finished.status == 0, finished.err
    written = (fetched / "repository/digits/config.pbtxt").read_text()
    assert text_format.Parse(finished.out, messages().ModelConfig()) == text_format.Parse(
        written, messages().ModelConfig()
    )
    finished = trainserve("config", fetched / "repository", "--settings", settings(tmp_path, ""))
    assert (finished.status, "a ready repository has its own configuration" in finished.err) == (2, True)


def test_two_versions_of_a_model_are_one_configuration(trainserve: Trainserve, root: Path, tmp_path: Path) -> None:
    path = settings(tmp_path, "versionPolicy: [1, 2]")
    versions = [root / f"default/digits/{number}" for number in (1, 2)]
    finished = trainserve("config", *versions, "--settings", path)
    config = text_format.Parse(finished.out, messages().ModelConfig())
    assert list(config.version_policy.specific.versions) == [1, 2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("maxBatch: 3", "settings.maxBatch: unknown field; allowed: batchAxis, "),
        ("tensorRT: {}", "settings.tensorRT: needs a GPU"),
        ("overrides: {max_batch: 3}", 'has no field named "max_batch"'),
        ("versionPolicy: [7]", "settings.versionPolicy: no version 7 of model digits"),
        ("ensemble: {top: 11}", "settings.ensemble.top: 11 is not allowed"),
    ],
)
def test_settings_that_cannot_be_followed_are_one_line_and_exit_2(
    trainserve: Trainserve, version: Path, tmp_path: Path, text: str, words: str
) -> None:
    finished = trainserve("config", version, "--settings", settings(tmp_path, text))
    assert (finished.status, finished.out) == (2, "")
    (line,) = finished.err.splitlines()
    assert words in line
