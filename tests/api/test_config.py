"""A TrainJob and the CONFIG.json that its pod reads say the same: fields, bounds and defaults cannot drift apart."""

from typing import Any

import pytest

from tests.api.fields import bounds, fields
from trainserve.api.support import TRAINJOB_LIMITS
from trainserve.api.trainjob import Output, TrainJobSpec
from trainserve.models.config import Config

THE_PODS_ALONE = {"job", "store", "dataset.path", "model.pretrained.path", "checkpoint.folder"}
"""What the operator fills in."""
THE_OPERATORS_ALONE = {"policy", "resources", "workers", "pod", "model.image", "model.command"}


JOB, CONFIG = fields(TrainJobSpec), fields(Config)
LIMITED = {limit.field for limit in TRAINJOB_LIMITS if "." in limit.field}
SHARED = sorted((JOB.keys() & CONFIG.keys()) - LIMITED)


def alone(fields: dict[str, Any], exempt: set[str]) -> set[str]:
    return {path for path in fields if not any(path == name or path.startswith(f"{name}.") for name in exempt)}


def test_every_field_of_the_config_can_be_set_in_a_trainjob() -> None:
    assert alone(CONFIG, THE_PODS_ALONE) - JOB.keys() == set()


def test_every_field_of_a_trainjob_is_known_to_the_operator_or_to_the_pod() -> None:
    assert alone(JOB, THE_OPERATORS_ALONE) - CONFIG.keys() == set()


@pytest.mark.parametrize("path", [path for path in SHARED if "properties" not in CONFIG[path]])
def test_a_field_has_the_same_bounds_and_default_in_both(path: str) -> None:
    job, config = JOB[path], CONFIG[path]
    assert bounds(job) == bounds(config)
    assert (job.get("default") or None) == (config.get("default") or None)


def test_a_models_name_is_as_long_in_the_config_as_in_a_trainjob() -> None:
    config = CONFIG["output.model"]
    job = Output.model_json_schema()["properties"]["model"]
    assert {key: job[key] for key in ("pattern", "maxLength")} == {key: config[key] for key in ("pattern", "maxLength")}
