"""The operator's configuration: the environment of its process, read once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from trainserve.api.base import PodTemplate
from trainserve.api.limits import parse as parse_limits
from trainserve.api.pod import Endpoint, PodPath, Variable
from trainserve.api.scalars import quantity
from trainserve.api.scalars.quantity import InvalidQuantity
from trainserve.operator import network
from trainserve.operator.blocked import Refusal
from trainserve.operator.network import Peers
from trainserve.operator.shares import Shares
from trainserve.operator.shares import parse as parse_shares
from trainserve.operator.store import StoreRoot

TRAINER_IMAGE = f"trainserve-trainer:{version('trainserve')}"
SERVING_IMAGE = f"trainserve-serving:{version('trainserve')}"
"""Image of the containers that fetch, resolve, probe and tune, without torch; Triton itself runs in NVIDIA's image."""
NODE_CACHE_SIZE = "50Gi"
SCRATCH = "100Gi"
TRITON_IMAGE = "nvcr.io/nvidia/tritonserver:26.08-py3"


class InvalidSetting(ValueError):
    """An environment variable with an invalid value."""


@dataclass(frozen=True)
class Settings:
    """The settings of docs/contracts.md, "The operator's process"."""

    store: StoreRoot
    store_secret: str | None
    trainer_image: str
    serving_image: str
    triton_image: str
    metrics_host: str
    metrics_port: int
    lease_namespace: str
    node_cache: str | None
    """Folder on every node that keeps fetched models; None: each pod fetches for itself."""
    node_cache_size: str
    """Maximum size of that folder in bytes, as a Kubernetes quantity."""
    scrape_annotations: bool
    """Whether pods carry the annotations by which a Prometheus finds their metrics."""
    shares: Shares
    """Requests and limits of containers whose spec sets none."""
    scratch: str = SCRATCH
    """Maximum size in bytes of each `emptyDir` of a pod, as a Kubernetes quantity."""
    namespaces: tuple[str, ...] = ()
    """Namespaces that the operator watches; empty: all."""
    peers: Peers | None = None
    """Peers that may reach pods besides their users, for NetworkPolicies; None: create no NetworkPolicies."""
    limits: str = ""
    """Size limits, as JSON, for containers that read files from others; empty: the defaults of api.limits."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read the variables. Raises InvalidSetting that names the variable, its value and the allowed values."""
        address = environment.get("TRAINSERVE_METRICS_ADDRESS", "0.0.0.0:9090")
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise InvalidSetting(f"TRAINSERVE_METRICS_ADDRESS={address!r}: expected host:port, such as 0.0.0.0:9090")
        cache = environment.get("TRAINSERVE_NODE_CACHE") or None
        if cache is not None and not re.fullmatch(r"(/[^/]+)+", cache):
            raise InvalidSetting(
                f"TRAINSERVE_NODE_CACHE={cache!r}: expected an absolute folder, such as /var/cache/models"
            )
        sizes = {
            name: environment.get(name) or default
            for name, default in (("TRAINSERVE_NODE_CACHE_SIZE", NODE_CACHE_SIZE), ("TRAINSERVE_SCRATCH", SCRATCH))
        }
        for name, size in sizes.items():
            try:
                quantity.memory(size)
            except InvalidQuantity as error:
                raise InvalidSetting(f"{name}={size!r}: {error}; such as 50Gi") from error
        root = environment.get("TRAINSERVE_STORE", "pvc://trainserve-models")
        try:
            store = StoreRoot.parse(root)
        except ValueError as error:
            raise InvalidSetting(f"TRAINSERVE_STORE={root!r}: {error}") from error
        annotated = environment.get("TRAINSERVE_SCRAPE_ANNOTATIONS") or "false"
        if annotated not in ("true", "false"):
            raise InvalidSetting(f"TRAINSERVE_SCRAPE_ANNOTATIONS={annotated!r}: expected true or false")
        resources = environment.get("TRAINSERVE_POD_RESOURCES") or "{}"
        try:
            shares = parse_shares(resources)
        except ValueError as error:
            raise InvalidSetting(f"TRAINSERVE_POD_RESOURCES={resources!r}: {error}") from error
        limits = environment.get(Variable.LIMITS) or ""
        try:
            parse_limits(limits or "{}")
            peers = network.parse(environment.get(network.VARIABLE) or "")
        except ValueError as error:
            raise InvalidSetting(str(error)) from error
        return cls(
            store=store,
            store_secret=environment.get("TRAINSERVE_STORE_SECRET") or None,
            trainer_image=environment.get("TRAINSERVE_TRAINER_IMAGE") or TRAINER_IMAGE,
            serving_image=environment.get("TRAINSERVE_SERVING_IMAGE") or SERVING_IMAGE,
            triton_image=environment.get("TRAINSERVE_TRITON_IMAGE") or TRITON_IMAGE,
            metrics_host=host.strip("[]"),
            metrics_port=int(port),
            lease_namespace=environment.get("TRAINSERVE_LEASE_NAMESPACE") or "trainserve-system",
            node_cache=cache,
            node_cache_size=sizes["TRAINSERVE_NODE_CACHE_SIZE"],
            scrape_annotations=annotated == "true",
            shares=shares,
            scratch=sizes["TRAINSERVE_SCRATCH"],
            namespaces=tuple(filter(None, (environment.get("TRAINSERVE_WATCH_NAMESPACES") or "").split(","))),
            peers=peers,
            limits=limits,
        )

    def bounds(self) -> list[dict[str, str]]:
        """Return the `env` with the size limits, for containers that read files from others."""
        return [{"name": Variable.LIMITS, "value": self.limits.replace("$", "$$")}] if self.limits else []

    def scrape(self, port: int) -> dict[str, str]:
        """Return the annotations of a pod that serves its metrics at `port`; empty if they are disabled."""
        if not self.scrape_annotations:
            return {}
        return {"prometheus.io/scrape": "true", "prometheus.io/port": str(port), "prometheus.io/path": Endpoint.METRICS}

    def refuse_scrape(self, template: PodTemplate | None) -> Refusal | None:
        """Refuse annotations in `template` that `scrape` sets; return None if there are none."""
        asked = (template.annotations if template else None) or {}
        taken = [f"spec.pod.annotations.{name}" for name in self.scrape(0) if name in asked]
        if not taken:
            return None
        return Refusal("Invalid", f"{', '.join(taken)}: the operator sets it (chart value monitoring.annotations)")

    def store_credentials(self) -> list[dict[str, Any]]:
        """Return `envFrom` of containers that access the store: the namespace's own Secret, if it exists."""
        return [{"secretRef": {"name": self.store_secret, "optional": True}}] if self.store_secret else []

    def last_words(self) -> str:
        """Return the terminationMessagePolicy of containers that get `store_credentials`.

        With a Secret, the end of the log is not used as the message, since it may contain a value of the Secret.
        """
        return "FallbackToLogsOnError" if self.store_secret is None else "File"

    def credential_volumes(self) -> list[dict[str, Any]]:
        """Return the pod's volume of the same Secret: a certificate authority or a .netrc must be a file."""
        if self.store_secret is None:
            return []
        return [{"name": "credentials", "secret": {"secretName": self.store_secret, "optional": True}}]

    def credential_mounts(self) -> list[dict[str, Any]]:
        """Return the mount of that volume, for the containers that get `store_credentials`."""
        mount = {"name": "credentials", "mountPath": PodPath.CREDENTIALS, "readOnly": True}
        return [mount] if self.store_secret is not None else []
