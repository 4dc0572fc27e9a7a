"""The examples work as committed: nothing in them is refused or unsupported."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainserve.api import API_VERSION
from trainserve.api.modelserve import ModelServeSpec
from trainserve.api.support import unsupported
from trainserve.api.trainjob import TrainJobSpec
from trainserve.operator.specs import parse_modelserve, parse_trainjob

EXAMPLES = Path(__file__).parents[2] / "examples"
MANIFESTS = sorted(path for path in EXAMPLES.rglob("*.yaml") if EXAMPLES / "monitoring" not in path.parents)
"""Kubernetes manifests only: examples/monitoring configures Prometheus, Grafana and docker compose."""
PARSERS: dict[str, Callable[[Any], TrainJobSpec | ModelServeSpec]] = {
    "TrainJob": parse_trainjob,
    "ModelServe": parse_modelserve,
}


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_an_example_is_accepted_in_full(path: Path) -> None:
    manifests = [each for each in yaml.safe_load_all(path.read_text()) if each["kind"] != "ConfigMap"]
    assert manifests
    for manifest in manifests:
        assert manifest["apiVersion"] == API_VERSION
        assert unsupported(PARSERS[manifest["kind"]](manifest)) == []


def test_the_digits_service_follows_what_the_digits_run_publishes() -> None:
    job = parse_trainjob(yaml.safe_load((EXAMPLES / "digits" / "trainjob.yaml").read_text()))
    serve = parse_modelserve(yaml.safe_load((EXAMPLES / "digits" / "modelserve.yaml").read_text()))
    assert job.output and serve.model.name == job.output.model
