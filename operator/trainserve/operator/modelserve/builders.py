"""The children of a ModelServe: a Deployment per version, the Service, the pod that asks the store. See
docs/contracts.md."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from trainserve.api.modelserve import ModelRef, ModelServeSpec
from trainserve.operator import labels, pods
from trainserve.operator.cache import drifted
from trainserve.operator.modelserve import version as versions
from trainserve.operator.modelserve.version import Version
from trainserve.operator.plan import Object
from trainserve.operator.settings import Settings

SHARED = "/var/run/trainserve"
HTTP, GRPC, METRICS, PROBE = 8000, 8001, 8002, 9401
PORTS = {"http": HTTP, "grpc": GRPC, "metrics": METRICS}

APPLIED = "trainserve.io/applied"
"""Annotation with a digest of what was applied, so that applying the same again is skipped."""

DRAIN_SECONDS = 2
"""preStop: how long a pod still answers after it was told to go, until every node has stopped sending it requests."""
EXIT_SECONDS = 3
"""Triton's own grace. One idle keep-alive connection uses all of it up, and so does every restart: a backend that dies
is to be back within 15 s, its detection (two probes) and this drain included."""
GRACE_SECONDS = 20
"""More than both, so that nothing is killed in the middle of an answer."""
STARTUP_SECONDS = 600
"""A large model may take long to load."""


def deployment_name(serve: str, version: Version) -> str:
    """`<serve>-<ten digits of the digest>`."""
    return f"{serve}-{version.suffix}"


def resolver_name(serve: Object) -> str:
    """One per generation: another spec is another question."""
    return f"{serve['metadata']['name']}-resolve-{serve['metadata'].get('generation', 1)}"


def deployment(serve: Object, spec: ModelServeSpec, version: Version, settings: Settings) -> Object:
    """Everything that serves one version."""
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
            # A changed setting, such as the number of instances, never takes a ready pod away before its successor is
            # verified.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": stamped(_template(serve, spec, version, settings, selected), labels.TEMPLATE),
        },
    }
    return stamped(wanted)


def _template(
    serve: Object, spec: ModelServeSpec, version: Version, settings: Settings, selected: dict[str, str]
) -> Object:
    return {
        "metadata": {
            "labels": {labels.MANAGED_BY: labels.MANAGER, **selected},
            "annotations": {labels.OWNER_UID: serve["metadata"]["uid"]},
        },
        "spec": _pod_spec(spec, version, settings),
    }


def template_digest(deployment: Object) -> str:
    """What the annotation `TEMPLATE` of the pods says that this Deployment makes."""
    return str(deployment["spec"]["template"]["metadata"]["annotations"][labels.TEMPLATE])


def service(serve: Object, suffix: str) -> Object:
    """The stable address; `suffix` is the version that takes traffic."""
    name = serve["metadata"]["name"]
    wanted = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": labels.metadata(serve, name, {labels.MODELSERVE: name}),
        "spec": {
            "selector": {labels.MODELSERVE: name, labels.VERSION: suffix},
            "ports": [
                {"name": port, "port": number, "targetPort": number, "protocol": "TCP"}
                for port, number in PORTS.items()
            ],
        },
    }
    return stamped(wanted)


def disruption_budget(serve: Object, api_version: str) -> Object:
    """Lets a drain take one replica at a time. Pods that ask the store are not meant: no controller counts them."""
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


def resolver_pod(serve: Object, ref: ModelRef, settings: Settings) -> Object:
    """Asks the store which version is meant."""
    name, namespace = serve["metadata"]["name"], serve["metadata"]["namespace"]
    arguments = ["--store", settings.store.mounted, "--public-root", settings.store.public]
    arguments += ["--namespace", namespace, "--model", str(ref.name)]
    arguments += ["--version", str(ref.version)] if ref.version is not None else []
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": labels.metadata(serve, resolver_name(serve), {labels.MODELSERVE: name}),
        "spec": {
            **_HARDENED_POD,
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "resolve",
                    "image": settings.serving_image,
                    "command": ["python", "-m", "trainserve.serving", "resolve", *arguments],
                    "envFrom": settings.store_credentials(),
                    "securityContext": pods.HARDENED_OWN,
                    "volumeMounts": settings.store.mounts(read_only=True),
                }
            ],
            "volumes": settings.store.volumes(),
        },
    }


def stamped(wanted: Object, annotation: str = APPLIED) -> Object:
    """The object with a digest of itself."""
    canonical = json.dumps(wanted, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:16]
    metadata = wanted["metadata"]
    return wanted | {"metadata": metadata | {"annotations": (metadata.get("annotations") or {}) | {annotation: digest}}}


def is_applied(wanted: Object, known: Object | None) -> bool:
    """Whether the known object was made from exactly this, and nobody has changed it since."""
    stamp = wanted["metadata"]["annotations"][APPLIED]
    made = known is not None and (known["metadata"].get("annotations") or {}).get(APPLIED) == stamp
    return made and known is not None and not drifted(known)


_HARDENED_POD: dict[str, Any] = {
    "automountServiceAccountToken": False,
    "enableServiceLinks": False,
    "securityContext": pods.SECURITY,
}


def _pod_spec(spec: ModelServeSpec, version: Version, settings: Settings) -> dict[str, Any]:
    shared = {"name": "shared", "mountPath": SHARED}
    return {
        **_HARDENED_POD,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "initContainers": [_fetch(spec, version, settings, shared)],
        "containers": [_triton(spec, settings, shared), _probe(spec, version, settings, shared)],
        "volumes": [{"name": "shared", "emptyDir": {}}, *settings.store.volumes()],
        **pods.placement(spec.resources),
    }


def _fetch(spec: ModelServeSpec, version: Version, settings: Settings, shared: dict[str, Any]) -> dict[str, Any]:
    path = settings.store.path_of(version.uri)
    assert path is not None, f"{version.uri} was checked to be in the store"
    chosen = spec.triton.model_dump_json(by_alias=True, exclude_none=True, exclude={"image"})
    # Or the kubelet would put the store's credentials wherever a manifest says $(AWS_SECRET_ACCESS_KEY).
    chosen = chosen.replace("$", r"\u0024")
    arguments = ["--store", settings.store.mounted, "--path", path, "--digest", version.digest, "--into", SHARED]
    arguments += ["--model-name", version.model, "--settings", chosen, "--gpus", str(spec.resources.gpus)]
    return {
        "name": "fetch",
        "image": settings.serving_image,
        "command": ["python", "-m", "trainserve.serving", "fetch", *arguments],
        "envFrom": settings.store_credentials(),
        "securityContext": pods.HARDENED_OWN,
        "volumeMounts": [shared, *settings.store.mounts(read_only=True)],
    }


def _triton(spec: ModelServeSpec, settings: Settings, shared: dict[str, Any]) -> dict[str, Any]:
    ready = {"httpGet": {"path": "/v2/health/ready", "port": HTTP}, "periodSeconds": 1}
    return {
        "name": "triton",
        "image": spec.triton.image or settings.triton_image,
        "command": [
            "tritonserver",
            f"--model-repository={SHARED}/repository",
            "--model-control-mode=none",
            "--exit-on-error=true",
            "--strict-readiness=true",
            "--disable-auto-complete-config",
            "--http-address=$(POD_IP)",
            "--grpc-address=$(POD_IP)",
            "--metrics-address=$(POD_IP)",
            f"--exit-timeout-secs={EXIT_SECONDS}",
        ],
        "env": [pods.POD_IP],
        "ports": [_port(name, number) for name, number in PORTS.items()],
        "resources": pods.limits(spec.resources),
        "securityContext": pods.HARDENED,
        "volumeMounts": [shared],
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(DRAIN_SECONDS)]}}},
        "startupProbe": ready | {"failureThreshold": STARTUP_SECONDS},
        "readinessProbe": ready | {"failureThreshold": 2},
        # The other container runs a real inference: a server whose backend process died answers its own health checks
        # with 200. The first delay is that container's own start; the timeout, a server under full load.
        "livenessProbe": {
            "httpGet": {"path": "/livez", "port": PROBE},
            "initialDelaySeconds": 5,
            "periodSeconds": 1,
            "timeoutSeconds": 5,
            "failureThreshold": 2,
        },
    }


def _probe(spec: ModelServeSpec, version: Version, settings: Settings, shared: dict[str, Any]) -> dict[str, Any]:
    arguments = ["--version", f"{SHARED}/version", "--model-name", version.model, "--url", f"$(POD_IP):{HTTP}"]
    arguments += ["--listen", f"$(POD_IP):{PROBE}", "--samples", str(spec.rollout.verify.samples)]
    return {
        "name": "probe",
        "image": settings.serving_image,
        "command": ["python", "-m", "trainserve.serving", "probe", *arguments],
        "env": [pods.POD_IP],
        "ports": [_port("probe", PROBE)],
        "securityContext": pods.HARDENED_OWN,
        "volumeMounts": [shared | {"readOnly": True}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": PROBE}, "periodSeconds": 1, "failureThreshold": 2},
    }


def _port(name: str, number: int) -> dict[str, Any]:
    # Server-side apply of Kubernetes 1.20 takes the protocol for a part of the key without a default.
    return {"name": name, "containerPort": number, "protocol": "TCP"}
