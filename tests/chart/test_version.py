"""Package, chart and images have the same version: the one in pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import metadata, version
from pathlib import Path

import yaml

from tests.chart.conftest import CHART, Render, of_kind
from trainserve.operator.settings import Settings

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
WRITTEN = re.compile(r"\btrainserve(?:-[a-z]+)?[:=@-]v?[0-9]+\.[0-9]+\.[0-9]+")
"""An image's tag, an archive of the chart or a requirement: every form that contains a version of TrainServe."""
READ = {".Dockerfile", ".json", ".md", ".py", ".sh", ".tpl", ".txt", ".yaml"}


def test_the_chart_and_the_installed_package_have_the_version_of_pyproject() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION), "`make version` carries it into the chart"
    assert version("trainserve") == VERSION
    assert metadata("trainserve")["License-Expression"] == "Apache-2.0"


def test_the_images_are_tagged_with_it_unless_another_tag_is_given(render: Render) -> None:
    (deployment,) = of_kind(render(), "Deployment")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    environment = {each["name"]: each.get("value") for each in container["env"]}
    assert container["image"] == f"trainserve-operator:{VERSION}"
    assert environment["TRAINSERVE_TRAINER_IMAGE"] == f"trainserve-trainer:{VERSION}"
    assert Settings.from_environment({}).trainer_image == f"trainserve-trainer:{VERSION}"


def test_nothing_else_in_the_repository_states_a_version_of_ours() -> None:
    looked_at = [ROOT / "README.md", ROOT / "Makefile"]
    for folder in ("charts", "dev", "docs", "examples", "images", "operator"):
        looked_at += [
            path for path in (ROOT / folder).rglob("*") if path.suffix in READ and "node_modules" not in path.parts
        ]
    stated = {str(path.relative_to(ROOT)): found for path in looked_at if (found := WRITTEN.findall(path.read_text()))}
    assert stated == {}
