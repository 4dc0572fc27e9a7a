"""The development cluster's Prometheus configuration, derived from the rendered chart. Pure, except for `rendered`."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trainserve.dev.helm import helm
from trainserve.dev.prometheus.scrape import Object, endpoint_labels, only, pod_monitor, service_monitor
from trainserve.dev.state import SYSTEM_NAMESPACE

INTERVAL = "2s"
"""Interval of scrapes and of rule evaluation; short, so that metrics appear within seconds."""
RELEASE = "trainserve"
MONITORING = {"enabled": True, "interval": INTERVAL, "dashboards": {"enabled": False}}


class ChartNotRendered(Exception):
    """helm refused to render the chart; the message is helm's."""


@dataclass(frozen=True)
class Surroundings:
    """Facts of the cluster that the configuration needs."""

    server: str
    """The API server's address."""
    authority: Path
    token: Path
    """File with the bearer token of Prometheus' own account."""
    operator: str
    """host:port at which the operator serves its metrics."""


def rendered(chart: Path) -> list[Object]:
    """Return the chart's objects for the Prometheus operator. Raises ChartNotRendered, helm.HelmUnavailable."""
    settings = ["--set-json", f"monitoring={json.dumps(MONITORING)}"]
    command = [str(helm()), "template", RELEASE, str(chart), "--namespace", SYSTEM_NAMESPACE, *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ChartNotRendered(f"helm does not render {chart}: {done.stderr.strip()}")
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def files(objects: list[Object], around: Surroundings) -> dict[str, str]:
    """Return contents by file name: `prometheus.yml`, and a file per PrometheusRule. Raises scrape.Untranslated."""
    rules = {f"{each['metadata']['name']}.rules.yml": _rules(each) for each in _of_kind(objects, "PrometheusRule")}
    configuration = {
        "global": {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL},
        "rule_files": sorted(rules),
        "scrape_configs": _scrape_configs(objects, around),
    }
    contents: dict[str, Any] = {"prometheus.yml": configuration, **rules}
    return {name: yaml.safe_dump(content, sort_keys=False, width=1000) for name, content in contents.items()}


def _scrape_configs(objects: list[Object], around: Surroundings) -> list[Object]:
    discovery = {
        "api_server": around.server,
        "authorization": {"credentials_file": str(around.token)},
        "tls_config": {"ca_file": str(around.authority)},
    }
    pods = [config for each in _of_kind(objects, "PodMonitor") for config in pod_monitor(each, discovery)]
    services = [config for each in _of_kind(objects, "ServiceMonitor") for config in service_monitor(each, discovery)]
    return pods + [_without_endpoints(config, _of_kind(objects, "Service"), around.operator) for config in services]


def _without_endpoints(config: Object, services: list[Object], operator: str) -> Object:
    """Return the scrape_config of a ServiceMonitor with a fixed target instead of discovery by Endpoints.

    This is the only difference to a real cluster: there are no Endpoints here, because they refuse loopback addresses,
    and the operator is not a pod. The target has the labels that discovery would give the chart's own Service, so that
    the monitor's selector, port and relabelings apply unchanged.
    """
    targets = [
        {"targets": [operator], "labels": endpoint_labels(service, port["name"], service["metadata"]["name"])}
        for service in services
        for port in service["spec"]["ports"]
    ]
    kept = {name: value for name, value in config.items() if name != "kubernetes_sd_configs"}
    return {**kept, "static_configs": targets}


def _rules(rule: Object) -> Object:
    """Return a rule file's content, which is the spec unchanged, since both have the same format."""
    only(f"PrometheusRule {rule['metadata']['name']}", rule["spec"], "groups")
    return {"groups": rule["spec"]["groups"]}


def _of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [each for each in objects if each["kind"] == kind]
