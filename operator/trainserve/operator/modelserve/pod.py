"""A serving pod: an init container that fetches, Triton, and the probe that checks it. See docs/contracts.md."""

from __future__ import annotations

from typing import Any

from trainserve.api.modelserve import ModelServeSpec
from trainserve.api.pod import (
    LIVENESS_TIMEOUT_SECONDS,
    Endpoint,
    PodPath,
    Port,
    SharedFile,
    Variable,
    model_flags,
    triton_flags,
)
from trainserve.api.scalars import quantity
from trainserve.api.triton import Triton
from trainserve.api.triton_releases import POD_HEADER, has_histogram, takes_client_flags
from trainserve.operator import pods, shares
from trainserve.operator.modelserve.version import Version
from trainserve.operator.settings import Settings
from trainserve.operator.store import claimed

PORTS = {"http": Port.HTTP, "grpc": Port.GRPC, "metrics": Port.METRICS}

CONNECTION_SECONDS = 3
"""Maximum age of a gRPC connection in seconds, which gRPC varies by a tenth. Triton then sends GOAWAY, and the client's
next call opens another connection, to a pod that is not terminating. Calls in progress are completed first."""
DRAIN_SECONDS = 10
"""Seconds for which a terminating pod still serves requests (preStop): until every node has stopped sending it
connections, which takes seconds if the API server was unreachable, and until all its connections have reached their
maximum age."""
GRACE_SECONDS = 20
"""terminationGracePeriodSeconds: more than DRAIN_SECONDS and TRITON_EXIT_SECONDS together, so that no response is cut
off."""
DEAD = f"{PodPath.SHARED}/{SharedFile.DEAD}"
CLOSED = "shared-memory,trace,logging"
"""Triton's endpoints that no client needs: with them any client could map memory, write files and redirect the log.
Loading and unloading of models is disabled for all (--model-control-mode=none)."""
STARTUP_SECONDS = 600
"""Seconds that Triton may take to start: loading a large model takes long."""

_LAST_WORDS = {"terminationMessagePolicy": "FallbackToLogsOnError"}
"""Setting by which the end of the log becomes the message of a container that writes none itself."""


def pod_spec(spec: ModelServeSpec, version: Version, settings: Settings, namespace: str) -> dict[str, Any]:
    """Return the spec of one replica, which can read only the folder of `namespace` in the store."""
    shared = {"name": "shared", "mountPath": PodPath.SHARED}
    volumes, mounts = _source(version, settings, namespace)
    if spec.model.samples is not None:
        claims, at = claimed(spec.model.samples.uri, "samples", PodPath.SAMPLES)
        volumes, mounts = volumes + claims, mounts + at
    wanted = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pods.security(),
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "initContainers": [
            _fetch(spec, version, settings, namespace, [shared, *mounts, *settings.credential_mounts()])
        ],
        "containers": [_triton(spec, settings, shared), _probe(spec, version, settings, shared)],
        "volumes": [{"name": "shared", "emptyDir": {}}, *volumes, *settings.credential_volumes()],
        **pods.placement(spec.resources),
    }
    return pods.confined(wanted, settings.scratch)


def settings_argument(triton: Triton) -> str:
    """Return `spec.triton` as the JSON text that is passed to a pod."""
    # Otherwise the kubelet would expand a $(AWS_SECRET_ACCESS_KEY) in a manifest to the store's credentials.
    return triton.settings_json().replace("$", r"\u0024")


def client_flags(image: str, closed: str = CLOSED) -> list[str]:
    """Return Triton's flags for client connections; empty if the image does not support them.

    Endpoints in `closed` require the pod's uid, which is known only inside its namespace.
    """
    if not takes_client_flags(image):
        return []
    restricted = f"{closed}:{POD_HEADER}={Variable.POD_UID.reference}"
    return [
        f"--grpc-max-connection-age={CONNECTION_SECONDS * 1000}",
        f"--http-restricted-api={restricted}",
        f"--grpc-restricted-protocol={restricted}",
    ]


def server_flags(triton: Triton, image: str) -> list[str]:
    """Return the flags that the settings of `spec.triton` require with this image."""
    limited, histogram = triton.rate_limiter is not None, has_histogram(image)
    return model_flags(response_cache=triton.response_cache, rate_limiter=limited, histogram=histogram)


def _source(version: Version, settings: Settings, namespace: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the volumes and mounts of the model's source and of the node's cache."""
    if settings.store.path_of(version.uri) is not None:
        volumes, mounts = settings.store.volumes(), settings.store.mounts(namespace, read_only=True)
    else:
        volumes, mounts = claimed(version.uri)
    if settings.node_cache is not None:
        volumes.append({"name": "cache", "hostPath": {"path": settings.node_cache, "type": "DirectoryOrCreate"}})
        mounts.append(_cache_mount())
    return volumes, mounts


def _fetch(
    spec: ModelServeSpec, version: Version, settings: Settings, namespace: str, mounts: list[dict[str, Any]]
) -> dict[str, Any]:
    path = settings.store.path_of(version.uri)
    arguments = (
        ["--source", _plain(version.uri)] if path is None else ["--store", settings.store.mounted, "--path", path]
    )
    arguments += ["--digest", version.digest, "--into", PodPath.SHARED, "--model-name", version.model]
    arguments += ["--namespace", namespace] if settings.node_cache is not None else []
    arguments += ["--settings", settings_argument(spec.triton), "--gpus", str(spec.resources.gpus)]
    arguments += ["--release", _plain(_image(spec, settings)), *_objective(spec)]
    if spec.model.public_key is not None:
        arguments += ["--public-key", spec.model.public_key]
    if (samples := spec.model.samples) is not None:
        arguments += ["--samples", _plain(samples.uri)]
        arguments += ["--samples-digest", samples.digest] if samples.digest is not None else []
    return {
        "name": "fetch",
        "image": settings.serving_image,
        "command": ["python", "-m", "trainserve.serving", "fetch", *arguments, *_cache(settings)],
        "env": settings.bounds(),
        "envFrom": settings.store_credentials(),
        "resources": shares.of_helper(
            settings.shares.fetch, shares.of_workload(spec.resources, settings.shares.triton)
        ),
        "securityContext": pods.hardened(),
        "terminationMessagePolicy": settings.last_words(),
        "volumeMounts": mounts,
    }


def _cache(settings: Settings) -> list[str]:
    """Return the options of programs that use the node's cache; empty without one."""
    if settings.node_cache is None:
        return []
    return ["--cache", PodPath.NODE_CACHE, "--cache-size", str(int(quantity.memory(settings.node_cache_size)))]


def _cache_mount() -> dict[str, Any]:
    return {"name": "cache", "mountPath": PodPath.NODE_CACHE}


def _image(spec: ModelServeSpec, settings: Settings) -> str:
    return spec.triton.image or settings.triton_image


def _objective(spec: ModelServeSpec) -> list[str]:
    """Return the options of programs that count latencies; empty without an objective, so that pods stay unchanged."""
    return [] if spec.slo is None else ["--p99", spec.slo.p99]


def _plain(text: str) -> str:
    """Return the argument with `$` escaped, so that the kubelet expands no variable in it."""
    return text.replace("$", "$$")


def _triton(spec: ModelServeSpec, settings: Settings, shared: dict[str, Any]) -> dict[str, Any]:
    ready = {"httpGet": {"path": Endpoint.READY, "port": Port.HTTP}, "periodSeconds": 1}
    return {
        "name": "triton",
        "image": _image(spec, settings),
        "command": [
            "tritonserver",
            *triton_flags(f"{PodPath.SHARED}/{SharedFile.REPOSITORY}", Variable.POD_IP.reference),
            *client_flags(_image(spec, settings)),
            *server_flags(spec.triton, _image(spec, settings)),
        ],
        "env": [pods.pod_ip(), pods.pod_uid()],
        "ports": [_port(name, number) for name, number in PORTS.items()],
        "resources": shares.of_workload(spec.resources, settings.shares.triton),
        "securityContext": pods.hardened(pods.TRITON_USER, spec.pod),
        **_LAST_WORDS,
        "volumeMounts": [shared],
        "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", f"test -e {DEAD} || exec sleep {DRAIN_SECONDS}"]}}},
        # The probe container answers: until it runs, too, the kubelet cannot treat this container as dead.
        "startupProbe": {
            "httpGet": {"path": Endpoint.STARTED, "port": Port.PROBE},
            "periodSeconds": 1,
            "timeoutSeconds": 2,
            "failureThreshold": STARTUP_SECONDS,
        },
        "readinessProbe": ready | {"failureThreshold": 2},
        # The probe container runs a real inference: a server whose model hangs, or whose python backend's process died,
        # answers its own health checks with 200. The timeout allows for a server under full load; five failures take
        # longer than a restart of the probe container, which does not mean that this one is dead.
        "livenessProbe": {
            "httpGet": {"path": Endpoint.ALIVE, "port": Port.PROBE},
            "periodSeconds": 1,
            "timeoutSeconds": LIVENESS_TIMEOUT_SECONDS,
            "failureThreshold": 5,
        },
    }


def _probe(spec: ModelServeSpec, version: Version, settings: Settings, shared: dict[str, Any]) -> dict[str, Any]:
    address = Variable.POD_IP.reference
    arguments = ["--version", f"{PodPath.SHARED}/{SharedFile.VERSION}", "--model-name", version.model]
    arguments += ["--url", f"{address}:{Port.HTTP}", "--listen", f"{address}:{Port.PROBE}"]
    arguments += ["--samples", str(spec.rollout.verify.samples), *_cache(settings)]
    arguments += ["--dead-file", DEAD, *_objective(spec)]
    if spec.model.samples is not None:
        arguments += ["--given", f"{PodPath.SHARED}/{SharedFile.GIVEN}"]
    if spec.triton.ensemble is not None:
        arguments.append("--ensemble")
    mounts = [shared]  # writable: the probe removes the batching of a model whose rows depend on one another
    if settings.node_cache is not None:  # the probe's metrics report how full the cache is
        mounts.append({**_cache_mount(), "readOnly": True})
    return {
        "name": "probe",
        "image": settings.serving_image,
        "command": ["python", "-m", "trainserve.serving", "probe", *arguments],
        "env": [pods.pod_ip(), *settings.bounds()],
        "ports": [_port("probe", Port.PROBE)],
        "resources": shares.of_helper(settings.shares.probe),
        "securityContext": pods.hardened(),
        **_LAST_WORDS,
        "volumeMounts": mounts,
        "readinessProbe": {
            "httpGet": {"path": Endpoint.VERIFIED, "port": Port.PROBE},
            "periodSeconds": 1,
            "failureThreshold": 2,
        },
    }


def _port(name: str, number: int) -> dict[str, Any]:
    # Server-side apply of Kubernetes 1.20 treats the protocol as a part of the key without a default.
    return {"name": name, "containerPort": number, "protocol": "TCP"}
