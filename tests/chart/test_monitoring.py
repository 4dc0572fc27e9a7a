"""What the chart renders for the Prometheus operator, for Grafana, and for clusters without either."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.conftest import CHART, Helm, Manifest, Render, of_kind
from trainserve.api.pod import Port
from trainserve.dev import prometheus
from trainserve.dev.prometheus import config

MONITORING, GRAFANA = "monitoring.coreos.com/v1", "grafana.integreatly.org/v1beta1"
ON = 'monitoring={"enabled": true, "interval": "7s", "labels": {"release": "stack"}, "gridIntensity": 350}'
KEPT = ("monitoring=null", "operator.logFormat=null")
"""Settings that remove what an earlier chart's values lack: as after `helm upgrade --reuse-values`."""
KINDS = ("PodMonitor", "ServiceMonitor", "PrometheusRule")
RULES = sorted(CHART.glob("files/rules/*.yaml"))
DASHBOARDS = sorted(CHART.glob("dashboards/*.json"))
MEBIBYTE = 2**20


def kinds(manifests: list[Manifest]) -> set[str]:
    return {manifest["kind"] for manifest in manifests} & {*KINDS, "GrafanaDashboard"}


def test_scrape_objects_and_rules_come_where_the_api_is_served_or_when_asked_for(render: Render) -> None:
    assert kinds(render()) == set()
    assert kinds(render(apis=(MONITORING,))) == set(KINDS)
    assert kinds(render('monitoring={"enabled": true}')) == set(KINDS)
    assert kinds(render('monitoring={"enabled": false}', apis=(MONITORING,))) == set()
    assert kinds(render('monitoring={"rules": false}', apis=(MONITORING,))) == {"PodMonitor", "ServiceMonitor"}


def test_everything_that_is_scraped_is_named_as_the_pods_name_it(render: Render) -> None:
    monitors = {
        each["metadata"]["name"]: each for each in render(ON) if each["kind"] in ("PodMonitor", "ServiceMonitor")
    }
    ports = {
        name: [
            endpoint["port"]
            for endpoint in monitor["spec"].get("podMetricsEndpoints", monitor["spec"].get("endpoints"))
        ]
        for name, monitor in monitors.items()
    }
    assert ports == {
        "trainserve-training": ["progress"],
        "trainserve-triton": ["metrics"],
        "trainserve-probe": ["probe"],
        "trainserve-operator": ["metrics"],
    }
    assert [int(port) for port in (Port.METRICS, Port.PROBE, Port.PROGRESS)] == [8002, 9401, 9400]


def test_every_object_has_the_interval_and_the_labels_that_were_asked_for(render: Render) -> None:
    for manifest in render(ON):
        if manifest["kind"] in KINDS:
            assert manifest["metadata"]["labels"]["release"] == "stack"
            assert manifest["metadata"]["namespace"] == "trainserve-system"
        for endpoint in manifest.get("spec", {}).get("podMetricsEndpoints", []):
            assert endpoint["interval"] == "7s"


def test_labels_that_are_asked_for_win_over_the_charts_own(render: Render) -> None:
    rendered = render('monitoring={"enabled": true, "labels": {"app.kubernetes.io/component": "metrics"}}')
    for manifest in rendered:
        if manifest["kind"] in KINDS:
            assert manifest["metadata"]["labels"]["app.kubernetes.io/component"] == "metrics"
    (service,) = of_kind(rendered, "Service")
    assert service["metadata"]["labels"]["app.kubernetes.io/component"] == "operator"


@pytest.mark.parametrize("interval", ["1s", "15s", "60s", "1m"])
def test_an_interval_of_up_to_a_minute_is_taken(render: Render, interval: str) -> None:
    rendered = render(f"monitoring={json.dumps({'enabled': True, 'interval': interval})}")
    (monitor,) = of_kind(rendered, "ServiceMonitor")
    assert monitor["spec"]["endpoints"][0]["interval"] == interval


def test_the_longest_release_name_leaves_every_object_a_name_of_its_own(run_helm: Helm) -> None:
    release = "production-trainserve-of-the-computer-vision-platform"
    assert len(release) == 53, "helm takes no longer one"
    apis = ("--api-versions", MONITORING, "--api-versions", GRAFANA)
    done = run_helm("template", release, str(CHART), *apis, "--set", "monitoring.gridIntensity=350")
    assert done.returncode == 0, done.stderr
    manifests = [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 63 for _, name in names)
    assert {name for kind, name in names if kind == "ConfigMap"} == {
        f"{release[: 52 - len(board)].removesuffix('-')}-dashboard-{board}"
        for board in (each.stem for each in DASHBOARDS)
    }


def test_values_kept_from_a_chart_before_monitoring_install_nothing_of_it(render: Render, run_helm: Helm) -> None:
    rendered = render(*KEPT, apis=(MONITORING, GRAFANA))
    assert kinds(rendered) == set()
    assert config_maps(rendered) == {}
    (deployment,), (service,) = of_kind(rendered, "Deployment"), of_kind(rendered, "Service")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["command"][-1] == "--log-format=plain"
    assert "annotations" not in service["metadata"]
    settings = [argument for setting in KEPT for argument in ("--set-json", setting)]
    done = run_helm("install", "trainserve", str(CHART), "-n", "trainserve-system", "--dry-run=client", *settings)
    assert done.returncode == 0, done.stderr
    assert "helm upgrade --reset-then-reuse-values keeps what you set" in done.stdout


def test_the_service_monitor_selects_the_operators_service(render: Render) -> None:
    rendered = render(ON)
    (service,), (monitor,) = of_kind(rendered, "Service"), of_kind(rendered, "ServiceMonitor")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["metadata"]["namespace"] == service["metadata"]["namespace"]


def test_the_operator_has_no_more_rights_with_monitoring(render: Render) -> None:
    plain, monitored = (of_kind(render(*settings), "ClusterRole") for settings in ((), (ON,)))
    assert [role["rules"] for role in plain] == [role["rules"] for role in monitored]


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_a_rule_file_is_installed_as_it_stands_but_for_the_runbooks(render: Render, path: Path) -> None:
    base = "https://wiki.example.org/runbooks.md"
    rendered = render(f"monitoring={json.dumps({'enabled': True, 'runbooks': base})}")
    rules = {rule["metadata"]["name"]: rule["spec"] for rule in of_kind(rendered, "PrometheusRule")}
    expected = yaml.safe_load(path.read_text())
    for rule in every_rule(expected):
        if "runbook_url" in rule.get("annotations", {}):
            section = rule["annotations"]["runbook_url"].partition("#")[2]
            rule["annotations"]["runbook_url"] = f"{base}#{section}"
    assert rules[f"trainserve-{path.stem}"] == expected


def test_by_default_the_runbooks_are_where_the_plain_rule_files_say(render: Render) -> None:
    rules = {rule["metadata"]["name"]: rule["spec"] for rule in of_kind(render(ON), "PrometheusRule")}
    for path in RULES:
        assert rules[f"trainserve-{path.stem}"] == yaml.safe_load(path.read_text())


def test_the_alert_on_a_full_store_watches_the_stores_own_claim(render: Render) -> None:
    rendered = json.dumps(of_kind(render(ON, 'store={"root": "pvc://team-models"}'), "PrometheusRule"))
    assert 'persistentvolumeclaim=\\"team-models\\"' in rendered
    assert "trainserve-models" not in rendered


def test_the_grids_intensity_is_a_rule_only_when_it_is_known(render: Render) -> None:
    def records(*settings: str) -> dict[str, str]:
        specs = [rule["spec"] for rule in of_kind(render(*settings), "PrometheusRule")]
        return {rule["record"]: rule["expr"] for spec in specs for rule in every_rule(spec) if "record" in rule}

    assert records(ON)["trainserve:grid_intensity:grams_per_kwh"] == "vector(350)"
    assert "trainserve:grid_intensity:grams_per_kwh" not in records('monitoring={"enabled": true}')


def test_promtool_finds_every_rule_that_is_installed_right(render: Render, tmp_path: Path) -> None:
    around = config.Surroundings("https://127.0.0.1:1", tmp_path / "ca", tmp_path / "token", "127.0.0.1:2")
    names = []
    for name, content in config.files(render(ON), around).items():
        (tmp_path / name).write_text(content)
        names += [name] if name.endswith(".rules.yml") else []
    assert len(names) == len(RULES) + 1
    done = subprocess.run(
        [prometheus.promtool(), "check", "rules", *names], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_a_dashboard_is_installed_as_it_stands_where_grafanas_sidecar_looks(render: Render, path: Path) -> None:
    config_map = config_maps(render())[f"trainserve-dashboard-{path.stem}"]
    assert json.loads(config_map["data"][path.name]) == json.loads(path.read_text())
    assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert config_map["metadata"]["annotations"] == {"grafana_folder": "TrainServe"}
    assert len(json.dumps(config_map)) < MEBIBYTE, "etcd takes no more"


def test_dashboards_go_where_the_values_say(render: Render) -> None:
    values = {"label": "boards", "labelValue": "yes", "folder": 'Team "A"', "namespace": "grafana"}
    rendered = config_maps(render(f"monitoring={json.dumps({'dashboards': values})}"))
    for config_map in rendered.values():
        assert config_map["metadata"]["namespace"] == "grafana"
        assert config_map["metadata"]["labels"]["boards"] == "yes"
        assert config_map["metadata"]["annotations"]["grafana_folder"] == 'Team "A"'
    assert len(rendered) == len(DASHBOARDS)
    assert config_maps(render('monitoring={"dashboards": {"enabled": false}}')) == {}


def test_the_grafana_operator_is_pointed_at_the_same_config_maps(render: Render) -> None:
    assert of_kind(render(), "GrafanaDashboard") == []
    rendered = render(apis=(GRAFANA,))
    references = {board["metadata"]["name"]: board["spec"] for board in of_kind(rendered, "GrafanaDashboard")}
    assert set(references) == set(config_maps(rendered))
    for name, spec in references.items():
        config_map = config_maps(rendered)[spec["configMapRef"]["name"]]
        assert config_map["metadata"]["name"] == name
        assert spec["configMapRef"]["key"] in config_map["data"]
        assert spec["instanceSelector"] == {"matchLabels": {"dashboards": "grafana"}}
        assert spec["folder"] == "TrainServe"


def test_annotations_are_for_clusters_without_the_prometheus_operator(render: Render) -> None:
    (plain,), (annotated,) = (
        of_kind(render(*settings), "Service") for settings in ((), ('monitoring={"annotations": true}',))
    )
    assert "annotations" not in plain["metadata"]
    assert annotated["metadata"]["annotations"] == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(annotated["spec"]["ports"][0]["port"]),
        "prometheus.io/path": "/metrics",
    }


def test_the_operator_is_told_to_annotate_its_pods(render: Render) -> None:
    def told(*settings: str) -> str | None:
        (deployment,) = of_kind(render(*settings), "Deployment")
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        return next(
            (each["value"] for each in container["env"] if each["name"] == "TRAINSERVE_SCRAPE_ANNOTATIONS"), None
        )

    assert told() is None
    assert told('monitoring={"annotations": true}') == "true"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ((), "no monitoring.coreos.com/v1, so no PodMonitor, ServiceMonitor or PrometheusRule was installed"),
        (("--set", "monitoring.annotations=true"), "have prometheus.io/* annotations instead"),
        (("--set", "monitoring.annotations=true"), "They give raw metrics only"),
        (("--set", "monitoring.enabled=true"), "PodMonitors and a ServiceMonitor say what to scrape"),
    ],
)
def test_the_notes_say_what_is_scraped_and_how(run_helm: Helm, settings: tuple[str, ...], said: str) -> None:
    # No cluster is needed: --dry-run=client renders the notes with helm's own list of APIs.
    done = run_helm("install", "trainserve", str(CHART), "-n", "trainserve-system", "--dry-run=client", *settings)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


def every_rule(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [rule for group in spec["groups"] for rule in group["rules"]]


def config_maps(manifests: list[Manifest]) -> dict[str, Manifest]:
    return {manifest["metadata"]["name"]: manifest for manifest in of_kind(manifests, "ConfigMap")}
