"""examples/monitoring: everything that can be checked without a container engine."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.dashboards.boards import BOARDS, CHART, RULES
from trainserve.dev import prometheus
from trainserve.dev.prometheus import config, scrape

EXAMPLE = CHART.parents[1] / "examples" / "monitoring"
COMPOSE = yaml.safe_load((EXAMPLE / "docker-compose.yaml").read_text())


def scrapes() -> dict[str, Any]:
    """Return the example's scrape_configs by job."""
    configuration = yaml.safe_load((EXAMPLE / "prometheus" / "prometheus.yml").read_text())
    return {each["job_name"]: each for each in configuration["scrape_configs"]}


def test_every_file_is_well_formed() -> None:
    files = [*EXAMPLE.rglob("*.yaml"), *EXAMPLE.rglob("*.yml")]
    assert len(files) == 5
    for path in files:
        assert yaml.safe_load(path.read_text())


def test_promtool_accepts_the_configuration_with_the_charts_rules(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE / "prometheus", tmp_path, dirs_exist_ok=True)
    shutil.copytree(RULES, tmp_path / "rules")
    (tmp_path / "kubeconfig").write_text("apiVersion: v1\nkind: Config\n")
    # Debian 12 builds its own Prometheus and promtool without Kubernetes service discovery.
    promtool = prometheus.prepare_discovering() / "promtool"
    done = subprocess.run(
        [promtool, "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(list(RULES.glob('*.yaml')))} rule files found" in done.stdout


def test_every_mounted_file_is_there_and_mounted_where_it_is_looked_for() -> None:
    for service in COMPOSE["services"].values():
        for volume in service["volumes"]:
            source, target, mode = volume.rsplit(":", 2)
            assert mode == "ro"
            assert source.startswith("${") or (EXAMPLE / source).exists(), volume
            assert target.startswith("/")
    provider = yaml.safe_load((EXAMPLE / "grafana/provisioning/dashboards/trainserve.yaml").read_text())
    (mounted,) = (each for each in COMPOSE["services"]["grafana"]["volumes"] if each.startswith("../../charts"))
    assert provider["providers"][0]["options"]["path"] == mounted.rsplit(":", 2)[1]
    assert len(list((EXAMPLE / mounted.rsplit(":", 2)[0]).glob("*.json"))) == len(BOARDS)


def test_it_is_said_not_to_have_been_run() -> None:
    assert "**Not run here:**" in (EXAMPLE / "README.md").read_text()


def test_what_the_readme_tells_to_set_is_read() -> None:
    text = (EXAMPLE / "docker-compose.yaml").read_text()
    for name in re.findall(r"\b([A-Z][A-Z_]+_[A-Z]+|KUBECONFIG)\b", (EXAMPLE / "README.md").read_text()):
        assert f"${{{name}:-" in text, name


def test_images_are_pinned() -> None:
    for service in COMPOSE["services"].values():
        assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", service["image"])


@pytest.fixture(scope="module")
def installed() -> dict[str, Any]:
    """Return the scrape_configs generated from the chart's PodMonitors, by job name."""
    monitors = [each for each in config.rendered(CHART) if each["kind"] == "PodMonitor"]
    configs = [each for monitor in monitors for each in scrape.pod_monitor(monitor, {})]
    return {job(each): each for each in configs}


def job(scrape_config: dict[str, Any]) -> str:
    names = [each["replacement"] for each in scrape_config["relabel_configs"] if each.get("target_label") == "job"]
    return str(names[-1])


def labels(scrape_config: dict[str, Any]) -> dict[str, list[str]]:
    """Return each target label and the labels that it is taken from, without those that the chart drops."""
    found = {}
    for each in scrape_config["relabel_configs"]:
        if "target_label" in each and "source_labels" in each and not each["target_label"].startswith("__"):
            found[each["target_label"]] = each["source_labels"]
    return {name: source for name, source in found.items() if name not in ("container", "endpoint", "service")}


def test_targets_get_the_labels_that_the_charts_scrape_objects_give_them(installed: dict[str, Any]) -> None:
    ours = {name: each for name, each in scrapes().items() if name != "trainserve-operator"}
    assert {name: labels(each) for name, each in ours.items()} == {
        name: labels(each) for name, each in installed.items()
    }
    renamed = {name: each.get("metric_relabel_configs", []) for name, each in ours.items()}
    assert renamed == {name: each.get("metric_relabel_configs", []) for name, each in installed.items()}


def test_the_operators_labels_are_honoured_as_the_chart_has_it() -> None:
    operator = scrapes()["trainserve-operator"]
    assert operator["honor_labels"] is True
    (target,) = yaml.safe_load((EXAMPLE / "prometheus" / operator["file_sd_configs"][0]["files"][0]).read_text())
    assert set(target["labels"]) == {"namespace", "pod"}
