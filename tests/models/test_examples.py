"""The example configurations work as committed, and the manifest of a user's network stores the file next to it."""

from pathlib import Path

import pytest
import yaml

from trainserve.models.config import load

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.json")), ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_an_example_config_is_taken(path: Path) -> None:
    assert load(path).folder == path.parent


def test_the_manifest_of_the_network_holds_the_file_that_lies_beside_it() -> None:
    config_map, job = yaml.safe_load_all((EXAMPLES / "network/trainjob.yaml").read_text())
    assert config_map["data"] == {"network.py": (EXAMPLES / "network/network.py").read_text()}
    assert job["spec"]["model"]["script"] == "configmap://network/network.py:network"
