"""Triton's latency histogram: which servers are configured with it, with which buckets, and which are not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from tests.operator.support import DIGEST, SETTINGS
from trainserve.api.latency_buckets import TRITON, bounds, objective_buckets, triton_bounds
from trainserve.api.modelserve import ModelServeSpec
from trainserve.operator.modelserve import pod
from trainserve.operator.modelserve.version import Version
from trainserve.serving.devserver import config_check
from trainserve.serving.pod.metrics import ProbeMetrics
from trainserve.serving.protocol.triton_types import messages
from trainserve.serving.repository.model_config import model_config
from trainserve.serving.repository.repository import Entry, Folder, layout, server_flags
from trainserve.serving.repository.settings import Settings
from trainserve.serving.sources.servable import Servable
from trainserve.store import Published

NEWEST = "nvcr.io/nvidia/tritonserver:26.08-py3"
BUCKETS = triton_bounds(0.02)


@pytest.fixture(scope="module")
def model(fetched: Path) -> Servable:
    return Servable.of_version(fetched / "version")


def counted(config: Any) -> dict[str, list[float]]:
    """Return the buckets of each histogram in a model configuration."""
    return {
        control.metric_identifier.family: list(control.histogram_options.buckets)
        for control in config.model_metrics.metric_control
    }


def fetched_config(root: Path, digest: str, into: Path, *arguments: str, **environment: str) -> Any:
    """Return the model configuration that the init container writes."""
    command = [sys.executable, "-m", "trainserve.serving", "fetch", "--store", str(root), "--digest", digest]
    command += ["--path", "default/digits/1", "--into", str(into), "--model-name", "digits", *arguments]
    subprocess.run(command, check=True, capture_output=True, env=dict(os.environ) | environment)
    text = (into / "repository/digits/config.pbtxt").read_text()
    return text_format.Parse(text, messages().ModelConfig())


@pytest.mark.parametrize(
    ("arguments", "objective"), [(["--release", NEWEST], None), (["--release", "26.01", "--p99", "20ms"], 0.02)]
)
def test_a_release_that_has_it_is_told_the_buckets_around_the_objective(
    root: Path, published: Published, tmp_path: Path, arguments: list[str], objective: float | None
) -> None:
    config = fetched_config(root, published.digest, tmp_path / "run", *arguments)
    assert counted(config) == {TRITON: list(triton_bounds(objective))}
    if objective:
        assert (TRITON, f"{counted(config)[TRITON][5]}") in objective_buckets(objective)


@pytest.mark.parametrize(
    ("release", "environment"),
    [
        ("nvcr.io/nvidia/tritonserver:25.12-py3", {}),
        ("registry.example.org/mine:latest", {}),
        (NEWEST, {"TRAINSERVE_DEVELOPMENT_SERVER": "1"}),
    ],
)
def test_an_older_an_unknown_and_the_development_server_are_told_nothing_of_it(
    root: Path, published: Published, tmp_path: Path, release: str, environment: dict[str, str]
) -> None:
    config = fetched_config(
        root, published.digest, tmp_path / "run", "--release", release, "--p99", "20ms", **environment
    )
    assert not config.HasField("model_metrics")


def test_an_objective_that_is_no_duration_is_refused_by_name(root: Path, published: Published, tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        fetched_config(root, published.digest, tmp_path / "run", "--release", NEWEST, "--p99", "soon")
    assert "'soon' is not a duration" in failed.value.stderr.decode()


def test_an_ensemble_and_its_steps_count_in_the_same_buckets(model: Servable) -> None:
    wanted = Settings.model_validate({"ensemble": {"top": 2}})
    folders = layout([Entry("digits", model, wanted)], buckets=BUCKETS)
    assert len(folders) > 2
    assert [counted(folder.config) for folder in folders] == [{TRITON: list(BUCKETS)}] * len(folders)
    assert server_flags([wanted], histogram=True) == ["--metrics-config=histogram_latencies=true"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (
            {"metricControl": [{"metricIdentifier": {"family": TRITON}, "histogramOptions": {"buckets": [1, 2]}}]},
            {TRITON: [1.0, 2.0]},
        ),
        (None, {}),
    ],
)
def test_what_overrides_say_of_it_wins(model: Servable, given: Any, wanted: dict[str, list[float]]) -> None:
    settings = Settings.model_validate({"overrides": {"modelMetrics": given}})
    assert counted(model_config("digits", model, settings, buckets=BUCKETS)) == wanted


def test_the_development_server_does_not_read_it_which_is_why_it_is_never_told(command: Path, model: Servable) -> None:
    """The newest release on PyPI is 24.10: it rejects the field and ignores the flag, because it knows neither."""
    flags = server_flags([Settings()], histogram=True)

    def said(folders: list[Folder]) -> list[str]:
        return [str(refusal) for refusal in config_check.check(command, folders, flags)]

    folders = layout([Entry("digits", model)], buckets=BUCKETS)
    (refusal,) = said(folders)
    assert 'has no field named "model_metrics"' in refusal
    assert said([config_check.without_histogram(folder) for folder in folders]) == []


def containers(image: str | None = None, slo: dict[str, str] | None = None) -> dict[str, list[str]]:
    """Return the commands of a serving pod by container name."""
    triton = {} if image is None else {"triton": {"image": image}}
    spec = ModelServeSpec.model_validate({"model": {"name": "digits"}, "slo": slo, **triton})
    version = Version("digits", 3, "file:///srv/models/default/digits/3", DIGEST)
    made = pod.pod_spec(spec, version, SETTINGS, "default")
    return {each["name"]: each["command"] for each in [*made["initContainers"], *made["containers"]]}


@pytest.mark.parametrize(
    ("image", "asked"),
    [(None, True), (NEWEST, True), ("nvcr.io/nvidia/tritonserver:25.08-py3", False), ("mine:1.2", False)],
)
def test_a_pod_asks_triton_for_it_where_the_images_release_has_it(image: str | None, asked: bool) -> None:
    command = containers(image)["triton"]
    assert ("--metrics-config=histogram_latencies=true" in command) is asked


def test_a_pod_knows_the_objective_and_one_without_any_is_as_it_was() -> None:
    with_objective, without = containers(slo={"p99": "20ms"}), containers()
    for name in ("fetch", "probe"):
        command = with_objective[name]
        assert command[command.index("--p99") + 1] == "20ms"
        assert "--p99" not in without[name]


def test_the_probe_counts_in_buckets_of_which_one_ends_at_the_objective() -> None:
    probe = ProbeMetrics(bounds(0.02))
    probe.answered(0.019)
    labels = {sample.labels.get("le") for family in probe.registry.collect() for sample in family.samples}
    assert "0.02" in labels
    assert ("trainserve_probe_inference_duration_seconds", "0.02") in objective_buckets(0.02)
