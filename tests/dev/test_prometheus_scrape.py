"""Translation of the chart's scrape objects: as the Prometheus operator does it, with nothing left untranslated."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainserve.dev import prometheus
from trainserve.dev.cluster import CHART
from trainserve.dev.prometheus import config
from trainserve.dev.prometheus.scrape import Object, Untranslated, pod_monitor, service_monitor

DISCOVERY = {"api_server": "https://api"}
POD_MONITOR: Object = {
    "apiVersion": "monitoring.coreos.com/v1",
    "kind": "PodMonitor",
    "metadata": {"name": "runs", "namespace": "default"},
    "spec": {
        "selector": {"matchLabels": {"example.org/rank": "0"}},
        "podMetricsEndpoints": [
            {
                "port": "progress",
                "path": "/metrics",
                "interval": "15s",
                "scrapeTimeout": "5s",
                "relabelings": [{"targetLabel": "job", "replacement": "training"}],
                "metricRelabelings": [{"action": "LabelDrop", "regex": "exported_version"}],
            }
        ],
    },
}
SERVICE_MONITOR: Object = {
    "apiVersion": "monitoring.coreos.com/v1",
    "kind": "ServiceMonitor",
    "metadata": {"name": "operator", "namespace": "system"},
    "spec": {
        "selector": {"matchLabels": {"app": "trainserve"}},
        "endpoints": [{"port": "metrics", "honorLabels": True}],
    },
}
SERVICE: Object = {
    "kind": "Service",
    "metadata": {"name": "trainserve-operator", "namespace": "system", "labels": {"app": "trainserve"}},
    "spec": {"ports": [{"name": "metrics", "port": 9090}, {"name": "other", "port": 1}]},
}
AROUND = config.Surroundings("https://127.0.0.1:6443", Path("/pki/ca.crt"), Path("/prometheus/token"), "127.0.0.1:9090")


def copied(source: str, target: str) -> Object:
    return {"source_labels": [source], "target_label": target}


def changed(thing: Object, change: Callable[[Any], Any]) -> Object:
    """Return a copy to which `change` was applied."""
    other = copy.deepcopy(thing)
    change(other)
    return other


def test_a_pod_monitor_becomes_what_the_prometheus_operator_makes_of_it() -> None:
    (made,) = pod_monitor(POD_MONITOR, DISCOVERY)
    assert made == {
        "job_name": "podMonitor/default/runs/0",
        "honor_labels": False,
        "kubernetes_sd_configs": [{"role": "pod", "api_server": "https://api", "namespaces": {"names": ["default"]}}],
        "scrape_interval": "15s",
        "scrape_timeout": "5s",
        "metrics_path": "/metrics",
        "relabel_configs": [
            copied("job", "__tmp_prometheus_job_name"),
            {"action": "drop", "source_labels": ["__meta_kubernetes_pod_phase"], "regex": "(Failed|Succeeded)"},
            {
                "action": "keep",
                "source_labels": [
                    "__meta_kubernetes_pod_label_example_org_rank",
                    "__meta_kubernetes_pod_labelpresent_example_org_rank",
                ],
                "regex": "(0);true",
            },
            {"action": "keep", "source_labels": ["__meta_kubernetes_pod_container_port_name"], "regex": "progress"},
            copied("__meta_kubernetes_namespace", "namespace"),
            copied("__meta_kubernetes_pod_container_name", "container"),
            copied("__meta_kubernetes_pod_name", "pod"),
            {"target_label": "job", "replacement": "default/runs"},
            {"target_label": "endpoint", "replacement": "progress"},
            {"target_label": "job", "replacement": "training"},
        ],
        "metric_relabel_configs": [{"action": "labeldrop", "regex": "exported_version"}],
    }


def test_a_service_monitor_becomes_what_the_prometheus_operator_makes_of_it() -> None:
    (made,) = service_monitor(SERVICE_MONITOR, DISCOVERY)
    target = ["__meta_kubernetes_endpoint_address_target_kind", "__meta_kubernetes_endpoint_address_target_name"]
    named = {"separator": ";", "replacement": "${1}", "source_labels": target}
    assert made == {
        "job_name": "serviceMonitor/system/operator/0",
        "honor_labels": True,
        "kubernetes_sd_configs": [
            {"role": "endpoints", "api_server": "https://api", "namespaces": {"names": ["system"]}}
        ],
        "relabel_configs": [
            copied("job", "__tmp_prometheus_job_name"),
            {
                "action": "keep",
                "source_labels": [
                    "__meta_kubernetes_service_label_app",
                    "__meta_kubernetes_service_labelpresent_app",
                ],
                "regex": "(trainserve);true",
            },
            {"action": "keep", "source_labels": ["__meta_kubernetes_endpoint_port_name"], "regex": "metrics"},
            {**named, "regex": "Node;(.*)", "target_label": "node"},
            {**named, "regex": "Pod;(.*)", "target_label": "pod"},
            copied("__meta_kubernetes_namespace", "namespace"),
            copied("__meta_kubernetes_service_name", "service"),
            copied("__meta_kubernetes_pod_name", "pod"),
            copied("__meta_kubernetes_pod_container_name", "container"),
            {"action": "drop", "source_labels": ["__meta_kubernetes_pod_phase"], "regex": "(Failed|Succeeded)"},
            {**copied("__meta_kubernetes_service_name", "job"), "replacement": "${1}"},
            {"target_label": "endpoint", "replacement": "metrics"},
        ],
    }


@pytest.mark.parametrize(
    ("expression", "kept"),
    [
        ({"operator": "In", "values": ["b", "c"]}, {"action": "keep", "regex": "(b|c);true"}),
        ({"operator": "NotIn", "values": ["b"]}, {"action": "drop", "regex": "(b);true"}),
        ({"operator": "Exists"}, {"action": "keep", "regex": "true"}),
        ({"operator": "DoesNotExist"}, {"action": "drop", "regex": "true"}),
    ],
)
def test_a_selectors_expression_keeps_and_drops(expression: Object, kept: Object) -> None:
    selector = {"matchExpressions": [{"key": "a", **expression}]}
    (made,) = pod_monitor(changed(POD_MONITOR, lambda monitor: monitor["spec"].update(selector=selector)), DISCOVERY)
    value, present = "__meta_kubernetes_pod_label_a", "__meta_kubernetes_pod_labelpresent_a"
    assert made["relabel_configs"][2] == {
        **kept,
        "source_labels": [value, present] if "values" in expression else [present],
    }


@pytest.mark.parametrize(
    ("selector", "namespaces"),
    [
        ({}, {"names": ["default"]}),
        ({"matchNames": ["a", "b"]}, {"names": ["a", "b"]}),
        ({"any": True}, None),
        ({"any": False}, {"names": ["default"]}),
    ],
)
def test_a_monitor_looks_into_the_namespaces_that_it_names(selector: Object, namespaces: Object | None) -> None:
    monitor = changed(POD_MONITOR, lambda monitor: monitor["spec"].update(namespaceSelector=selector))
    (made,) = pod_monitor(monitor, DISCOVERY)
    assert made["kubernetes_sd_configs"][0].get("namespaces") == namespaces


def test_an_empty_replacement_takes_a_label_away_and_is_not_lost() -> None:
    relabeling = {"sourceLabels": ["a"], "regex": "1", "targetLabel": "a", "replacement": ""}

    def change(monitor: Any) -> None:
        monitor["spec"]["podMetricsEndpoints"][0]["metricRelabelings"] = [relabeling]

    (made,) = pod_monitor(changed(POD_MONITOR, change), DISCOVERY)
    expected = {"source_labels": ["a"], "regex": "1", "target_label": "a", "replacement": ""}
    assert made["metric_relabel_configs"] == [expected]


def _endpoint(**fields: Any) -> Callable[[Any], Any]:
    return lambda monitor: monitor["spec"]["podMetricsEndpoints"][0].update(fields)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda monitor: monitor["spec"].update(sampleLimit=1), "PodMonitor runs: sampleLimit: not translated"),
        (_endpoint(scheme="https", params={}), "PodMonitor runs endpoint 0: params, scheme: not translated"),
        (_endpoint(relabelings=[{"modulo": 1}]), "PodMonitor runs relabeling: modulo"),
        (_endpoint(metricRelabelings=[{"modulo": 1}]), "PodMonitor runs relabeling: modulo"),
        (lambda monitor: monitor["spec"]["selector"].update(names=[]), "PodMonitor runs selector: names"),
        (lambda monitor: monitor["spec"].update(namespaceSelector={"all": True}), "runs namespaceSelector: all"),
        (lambda monitor: monitor["spec"]["podMetricsEndpoints"][0].pop("port"), "endpoint 0: only an endpoint with"),
    ],
)  # fmt: skip
def test_what_is_not_translated_is_named(change: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(Untranslated, match=said):
        pod_monitor(changed(POD_MONITOR, change), DISCOVERY)


def test_a_rule_object_with_more_than_groups_is_refused_by_field() -> None:
    rule = {"kind": "PrometheusRule", "metadata": {"name": "slo"}, "spec": {"groups": [], "interval": "1m"}}
    with pytest.raises(Untranslated, match="PrometheusRule slo: interval"):
        config.files([rule], AROUND)


def test_rules_are_written_as_they_stand() -> None:
    groups = [
        {"name": "a", "rules": [{"alert": "A", "expr": "up == 0", "annotations": {"summary": '{{ $labels.pod }} "x"'}}]}
    ]
    files = config.files([{"kind": "PrometheusRule", "metadata": {"name": "slo"}, "spec": {"groups": groups}}], AROUND)
    assert yaml.safe_load(files["slo.rules.yml"]) == {"groups": groups}
    assert yaml.safe_load(files["prometheus.yml"])["rule_files"] == ["slo.rules.yml"]


def test_only_the_endpoints_of_the_operators_service_are_replaced_by_an_address() -> None:
    files = config.files([POD_MONITOR, SERVICE_MONITOR, SERVICE], AROUND)
    pods, operator = yaml.safe_load(files["prometheus.yml"])["scrape_configs"]
    (discovery,) = pods["kubernetes_sd_configs"]
    assert discovery["api_server"] == AROUND.server
    assert discovery["authorization"] == {"credentials_file": "/prometheus/token"}
    assert discovery["tls_config"] == {"ca_file": "/pki/ca.crt"}
    assert operator["relabel_configs"] == service_monitor(SERVICE_MONITOR, DISCOVERY)[0]["relabel_configs"]
    assert "kubernetes_sd_configs" not in operator
    metrics, other = operator["static_configs"]
    assert (metrics["targets"], other["targets"]) == (["127.0.0.1:9090"], ["127.0.0.1:9090"])
    labels = metrics["labels"]
    assert labels["__meta_kubernetes_service_label_app"] == "trainserve"
    assert labels["__meta_kubernetes_service_labelpresent_app"] == "true"
    assert labels["__meta_kubernetes_endpoint_port_name"] == "metrics"
    assert other["labels"]["__meta_kubernetes_endpoint_port_name"] == "other", "the monitor's own relabeling drops it"


@pytest.fixture(scope="module")
def chart_files() -> dict[str, str]:
    return config.files(config.rendered(CHART), AROUND)


def test_everything_that_the_chart_renders_is_translated(chart_files: dict[str, str]) -> None:
    configuration = yaml.safe_load(chart_files["prometheus.yml"])
    assert [each["job_name"].rpartition("/")[0] for each in configuration["scrape_configs"]] == [
        "podMonitor/trainserve-system/trainserve-training",
        "podMonitor/trainserve-system/trainserve-triton",
        "podMonitor/trainserve-system/trainserve-probe",
        "serviceMonitor/trainserve-system/trainserve-operator",
    ]
    assert {each["scrape_interval"] for each in configuration["scrape_configs"]} == {config.INTERVAL}
    assert len(configuration["rule_files"]) == len(list(CHART.glob("files/rules/*.yaml")))


@pytest.mark.parametrize("prepare", [prometheus.prepare_discovering, prometheus.prepare3], ids=["2", "3"])
def test_prometheus_takes_the_configuration(
    prepare: Callable[[], Path], chart_files: dict[str, str], tmp_path: Path
) -> None:
    try:
        promtool = prepare() / "promtool"
    except prometheus.PrometheusUnavailable as error:
        pytest.skip(str(error))
    for name, content in chart_files.items():
        content = content.replace("/pki/ca.crt", str(tmp_path / "ca")).replace(
            "/prometheus/token", str(tmp_path / "token")
        )
        (tmp_path / name).write_text(content)
    (tmp_path / "ca").touch()
    (tmp_path / "token").touch()
    done = subprocess.run([promtool, "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_chart_that_helm_refuses_is_told_in_helms_words(tmp_path: Path) -> None:
    with pytest.raises(config.ChartNotRendered, match=r"does not render .*Chart\.yaml"):
        config.rendered(tmp_path)
