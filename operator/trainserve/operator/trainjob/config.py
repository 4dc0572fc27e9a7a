"""CONFIG.json of an attempt: the resolved spec, with addresses replaced by the paths at which the pod mounts them."""

from __future__ import annotations

from typing import Any

from trainserve.api.trainjob import TrainJobSpec
from trainserve.operator.objects import Object
from trainserve.operator.settings import Settings
from trainserve.operator.trainjob.volumes import path_of


def run_config(job: Object, spec: TrainJobSpec, attempt: int, settings: Settings) -> dict[str, Any]:
    """Return the configuration for `trainserve.models.config`, without fields at their defaults."""
    metadata = job["metadata"]
    said = spec.model_dump(
        mode="json",
        by_alias=True,
        exclude_none=True,
        # Images of an earlier release refuse fields that they do not know.
        exclude_defaults=True,
        # Sections that only the operator acts on.
        exclude={"policy": True, "resources": True, "workers": True, "pod": True, "model": {"image", "command"}},
    )
    for name, uri in mounted(spec).items():
        match name:
            case "data":
                said["dataset"]["path"] = path_of(name, uri)
            case "pretrained":
                said["model"]["pretrained"]["path"] = path_of(name, uri)
            case "script":
                said["model"]["script"] = path_of(name, uri)
    if spec.checkpoint is not None:
        # By uid, not by attempt: an attempt resumes from its predecessor's checkpoints.
        said["checkpoint"]["folder"] = settings.store.checkpoints(metadata["namespace"], metadata["uid"])
    return {
        "job": {
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            "attempt": attempt,
        },
        "store": {"root": settings.store.mounted, "publicRoot": settings.store.public},
        **said,
    }


def mounted(spec: TrainJobSpec) -> dict[str, str]:
    """Return the addresses of the spec that become volumes, by the volume's name."""
    named = {
        "data": spec.dataset.uri if spec.dataset else None,
        "pretrained": spec.model.pretrained.uri if spec.model.pretrained else None,
        "script": spec.model.script,
    }
    return {name: uri for name, uri in named.items() if uri is not None and path_of(name, uri) != uri}
