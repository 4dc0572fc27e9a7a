"""Builders of a ModelServe's children: Deployment per version, Service, resolver pod, and others.

See docs/contracts.md.
"""

from __future__ import annotations

import hashlib
import json

from trainserve.api.modelserve import ModelServeSpec
from trainserve.api.pod import Port
from trainserve.operator import asking, labels, network, objects
from trainserve.operator.cache import drifted
from trainserve.operator.modelserve import pod
from trainserve.operator.modelserve import version as versions
from trainserve.operator.modelserve.version import Version
from trainserve.operator.network import Peers
from trainserve.operator.objects import Object
from trainserve.operator.settings import Settings

APPLIED = "trainserve.io/applied"
"""Annotation with a digest of the applied object, so that an identical apply can be skipped."""


def deployment_name(serve: str, version: Version) -> str:
    """Return `<serve>-<ten digits of the digest>`."""
    return f"{serve}-{version.suffix}"


def resolver_name(serve: Object) -> str:
    """Return the resolver pod's name, one per generation, since another spec may refer to another version."""
    return f"{serve['metadata']['name']}-resolve-{objects.generation(serve)}"


def deployment(serve: Object, spec: ModelServeSpec, version: Version, settings: Settings) -> Object:
    """Return the Deployment that serves one version."""
    name = serve["metadata"]["name"]
    selected = {labels.MODELSERVE: name, labels.VERSION: version.suffix}
    metadata = labels.metadata(serve, deployment_name(name, version), selected)
    metadata["annotations"] = {versions.ANNOTATION: versions.write(version)}
    wanted = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": spec.replicas,
            "revisionHistoryLimit": 1,
            "selector": {"matchLabels": selected},
            # A changed setting, such as the number of instances, never removes a ready pod before its successor is
            # verified.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": stamped(_template(serve, spec, version, settings, selected), labels.TEMPLATE),
        },
    }
    return stamped(wanted)


def _template(
    serve: Object, spec: ModelServeSpec, version: Version, settings: Settings, selected: dict[str, str]
) -> Object:
    metadata = {
        "labels": {
            labels.MANAGED_BY: labels.MANAGER,
            **labels.of_model(version.model, version.number),
            **selected,
        },
        "annotations": {labels.OWNER_UID: serve["metadata"]["uid"], **settings.scrape(Port.METRICS)},
    }
    return {
        "metadata": labels.of_pod(spec.pod, metadata),
        "spec": pod.pod_spec(spec, version, settings, serve["metadata"]["namespace"]),
    }


def template_digest(deployment: Object) -> str:
    """Return the value of the annotation `TEMPLATE` of this Deployment's pods."""
    return str(deployment["spec"]["template"]["metadata"]["annotations"][labels.TEMPLATE])


def service(serve: Object, suffix: str) -> Object:
    """Return the Service, the stable address; `suffix` is that of the version that takes traffic."""
    name = serve["metadata"]["name"]
    wanted = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": labels.metadata(serve, name, {labels.MODELSERVE: name}),
        "spec": {
            "selector": {labels.MODELSERVE: name, labels.VERSION: suffix},
            "ports": [
                {"name": port, "port": number, "targetPort": number, "protocol": "TCP"}
                for port, number in pod.PORTS.items()
            ],
        },
    }
    return stamped(wanted)


def network_policy(serve: Object, spec: ModelServeSpec, peers: Peers) -> Object:
    """Return the policy: clients may reach HTTP and gRPC, Prometheus the metrics, operator and Prometheus the probe."""
    clients = [{"podSelector": {}}] if spec.clients is None else network.written(spec.clients)
    prometheus = network.written(peers.prometheus)
    allowed = [
        network.Ports((Port.HTTP, Port.GRPC), clients),
        network.Ports((Port.METRICS,), prometheus),
        network.Ports((Port.PROBE,), [*network.written(peers.operator), *prometheus]),
    ]
    return stamped(network.policy(serve, labels.MODELSERVE, allowed))


def disruption_budget(serve: Object, api_version: str) -> Object:
    """Return the budget that limits a drain to one replica at a time; it does not select resolver pods."""
    name = serve["metadata"]["name"]
    serving = {
        "matchLabels": {labels.MODELSERVE: name},
        "matchExpressions": [{"key": labels.VERSION, "operator": "Exists"}],
    }
    wanted = {
        "apiVersion": api_version,
        "kind": "PodDisruptionBudget",
        "metadata": labels.metadata(serve, name, {labels.MODELSERVE: name}),
        "spec": {"maxUnavailable": 1, "selector": serving},
    }
    return stamped(wanted)


def resolver_pod(serve: Object, spec: ModelServeSpec, settings: Settings) -> Object:
    """Return the pod that looks up the version in the store."""
    ref, metadata = spec.model, serve["metadata"]
    own = labels.metadata(serve, resolver_name(serve), {labels.MODELSERVE: metadata["name"]})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": labels.of_pod(spec.pod, own),
        "spec": asking.pod_spec(settings, metadata["namespace"], str(ref.name), ref.version),
    }


def stamped(wanted: Object, annotation: str = APPLIED) -> Object:
    """Return the object with a digest of its content as the value of `annotation`."""
    canonical = json.dumps(wanted, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:16]
    annotations = objects.annotations(wanted) | {annotation: digest}
    return wanted | {"metadata": wanted["metadata"] | {"annotations": annotations}}


def is_applied(wanted: Object, known: Object | None) -> bool:
    """Return whether `known` was applied from exactly `wanted` and has not been changed since."""
    stamp = wanted["metadata"]["annotations"][APPLIED]
    made = known is not None and objects.annotations(known).get(APPLIED) == stamp
    return made and known is not None and not drifted(known)
