"""Translates PodMonitors and ServiceMonitors to Prometheus' scrape_configs, as the Prometheus operator does. Pure.

It follows generatePodMonitorConfig and generateServiceMonitorConfig of github.com/prometheus-operator (v0.93,
pkg/prometheus/promcfg.go), except for the relabelings that shard targets among several Prometheus servers: there is
only one. A field that is not translated raises an error that names it, so that tests cover every field in the chart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Object = dict[str, Any]
_RUNNING = {"action": "drop", "source_labels": ["__meta_kubernetes_pod_phase"], "regex": "(Failed|Succeeded)"}
_RELABELING = {
    "sourceLabels": "source_labels",
    "separator": "separator",
    "targetLabel": "target_label",
    "regex": "regex",
    "modulus": "modulus",
    "replacement": "replacement",
    "action": "action",
}
_ENDPOINT = ("port", "path", "interval", "scrapeTimeout", "honorLabels", "relabelings", "metricRelabelings")


class Untranslated(Exception):
    """A scrape object has a field that this translation does not support; the message names object and field."""


def pod_monitor(monitor: Object, discovery: Object) -> list[Object]:
    """Return the scrape_configs of a PodMonitor, one per endpoint. Raises Untranslated.

    `discovery` is the part of kubernetes_sd_configs that no monitor contains: how Prometheus reaches the API server.
    """
    where, spec = _named(monitor), monitor["spec"]
    only(where, spec, "selector", "namespaceSelector", "podMetricsEndpoints")
    configs = []
    for number, endpoint in enumerate(_endpoints(where, spec["podMetricsEndpoints"])):
        relabelings = [
            _RUNNING,
            *_keep(where, spec["selector"], "pod"),
            {
                "action": "keep",
                "source_labels": ["__meta_kubernetes_pod_container_port_name"],
                "regex": endpoint["port"],
            },
            _copy("__meta_kubernetes_namespace", "namespace"),
            _copy("__meta_kubernetes_pod_container_name", "container"),
            _copy("__meta_kubernetes_pod_name", "pod"),
            {"target_label": "job", "replacement": _path(monitor)},
        ]
        job = f"podMonitor/{_path(monitor)}/{number}"
        configs.append(_scrape_config(job, monitor, endpoint, {"role": "pod", **discovery}, relabelings))
    return configs


def service_monitor(monitor: Object, discovery: Object) -> list[Object]:
    """Return the scrape_configs of a ServiceMonitor, one per endpoint. Raises Untranslated."""
    where, spec = _named(monitor), monitor["spec"]
    only(where, spec, "selector", "namespaceSelector", "endpoints")
    target = ["__meta_kubernetes_endpoint_address_target_kind", "__meta_kubernetes_endpoint_address_target_name"]
    configs = []
    for number, endpoint in enumerate(_endpoints(where, spec["endpoints"])):
        relabelings = [
            *_keep(where, spec["selector"], "service"),
            {"action": "keep", "source_labels": ["__meta_kubernetes_endpoint_port_name"], "regex": endpoint["port"]},
            *(
                {
                    "source_labels": target,
                    "separator": ";",
                    "regex": f"{kind};(.*)",
                    "replacement": "${1}",
                    "target_label": kind.lower(),
                }
                for kind in ("Node", "Pod")
            ),
            _copy("__meta_kubernetes_namespace", "namespace"),
            _copy("__meta_kubernetes_service_name", "service"),
            _copy("__meta_kubernetes_pod_name", "pod"),
            _copy("__meta_kubernetes_pod_container_name", "container"),
            _RUNNING,
            {**_copy("__meta_kubernetes_service_name", "job"), "replacement": "${1}"},
        ]
        job = f"serviceMonitor/{_path(monitor)}/{number}"
        configs.append(_scrape_config(job, monitor, endpoint, {"role": "endpoints", **discovery}, relabelings))
    return configs


def endpoint_labels(service: Object, port: str, pod: str) -> dict[str, str]:
    """Return the labels that discovery with role `endpoints` gives to a Service's port backed by that pod."""
    metadata = service["metadata"]
    labels = {_meta("service_label", name): value for name, value in metadata.get("labels", {}).items()}
    present = {_meta("service_labelpresent", name): "true" for name in metadata.get("labels", {})}
    return {
        "__meta_kubernetes_namespace": metadata["namespace"],
        "__meta_kubernetes_service_name": metadata["name"],
        "__meta_kubernetes_endpoint_port_name": port,
        "__meta_kubernetes_endpoint_address_target_kind": "Pod",
        "__meta_kubernetes_endpoint_address_target_name": pod,
        "__meta_kubernetes_pod_name": pod,
        "__meta_kubernetes_pod_phase": "Running",
        **labels,
        **present,
    }


def only(where: str, given: Mapping[str, Any], *known: str) -> None:
    """Raise Untranslated, naming `where`, if `given` has a field that is not among the `known` ones."""
    if unknown := sorted(set(given) - set(known)):
        raise Untranslated(f"{where}: {', '.join(unknown)}: not translated")


def _endpoints(where: str, endpoints: list[Object]) -> list[Object]:
    for number, endpoint in enumerate(endpoints):
        only(f"{where} endpoint {number}", endpoint, *_ENDPOINT)
        if "port" not in endpoint:
            raise Untranslated(f"{where} endpoint {number}: only an endpoint with a port's name is translated")
    return endpoints


def _scrape_config(
    job: str, monitor: Object, endpoint: Object, discovery: Object, relabelings: Sequence[Object]
) -> Object:
    where, selector = _named(monitor), monitor["spec"].get("namespaceSelector", {})
    only(f"{where} namespaceSelector", selector, "any", "matchNames")
    if not selector.get("any"):
        names = selector.get("matchNames") or [monitor["metadata"]["namespace"]]
        discovery = {**discovery, "namespaces": {"names": names}}
    settings = {"scrape_interval": "interval", "scrape_timeout": "scrapeTimeout", "metrics_path": "path"}
    own = _relabelings(where, endpoint.get("metricRelabelings", []))
    return {
        "job_name": job,
        "honor_labels": endpoint.get("honorLabels", False),
        "kubernetes_sd_configs": [discovery],
        **{ours: endpoint[theirs] for ours, theirs in settings.items() if theirs in endpoint},
        "relabel_configs": [
            _copy("job", "__tmp_prometheus_job_name"),
            *relabelings,
            {"target_label": "endpoint", "replacement": endpoint["port"]},
            *_relabelings(where, endpoint.get("relabelings", [])),
        ],
        **({"metric_relabel_configs": own} if own else {}),
    }


def _keep(where: str, selector: Object, kind: str) -> list[Object]:
    only(f"{where} selector", selector, "matchLabels", "matchExpressions")
    kept = [_among("keep", kind, name, [value]) for name, value in sorted(selector.get("matchLabels", {}).items())]
    for expression in selector.get("matchExpressions", []):
        only(f"{where} matchExpressions", expression, "key", "operator", "values")
        name, values = expression["key"], expression.get("values", [])
        present = {"source_labels": [_meta(f"{kind}_labelpresent", name)], "regex": "true"}
        translated = {
            "In": _among("keep", kind, name, values),
            "NotIn": _among("drop", kind, name, values),
            "Exists": {"action": "keep", **present},
            "DoesNotExist": {"action": "drop", **present},
        }
        kept.append(translated[expression["operator"]])
    return kept


def _among(action: str, kind: str, name: str, values: Iterable[str]) -> Object:
    labels = [_meta(f"{kind}_label", name), _meta(f"{kind}_labelpresent", name)]
    return {"action": action, "source_labels": labels, "regex": f"({'|'.join(values)});true"}


def _relabelings(where: str, given: Iterable[Object]) -> list[Object]:
    translated = []
    for relabeling in given:
        only(f"{where} relabeling", relabeling, *_RELABELING)
        own = {_RELABELING[name]: value for name, value in relabeling.items()}
        translated.append(own | ({"action": own["action"].lower()} if "action" in own else {}))
    return translated


def _copy(source: str, target: str) -> Object:
    return {"source_labels": [source], "target_label": target}


def _meta(of: str, name: str) -> str:
    return f"__meta_kubernetes_{of}_{re.sub(r'[^a-zA-Z0-9_]', '_', name)}"


def _named(monitor: Object) -> str:
    return f"{monitor['kind']} {monitor['metadata']['name']}"


def _path(monitor: Object) -> str:
    return f"{monitor['metadata']['namespace']}/{monitor['metadata']['name']}"
