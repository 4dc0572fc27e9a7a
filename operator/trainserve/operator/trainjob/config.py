"""CONFIG.json of an attempt: the spec as resolved, with addresses turned into the paths that the pod mounts."""

from __future__ import annotations

from typing import Any

from trainserve.api.trainjob import TrainJobSpec
from trainserve.operator.plan import Object
from trainserve.operator.settings import Settings
from trainserve.operator.trainjob.volumes import path_of


def run_config(job: Object, spec: TrainJobSpec, attempt: int, settings: Settings) -> dict[str, Any]:
    """What a training pod reads (`trainserve.models.config`): what differs from the defaults."""
    metadata = job["metadata"]
    said = spec.model_dump(
        mode="json",
        by_alias=True,
        exclude_none=True,
        # Images of an earlier release know fewer fields: what is as it is by default need not be known to them.
        exclude_defaults=True,
        # What the operator alone acts on.
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
        # The uid, not the attempt: what one attempt saved is what the next goes on from.
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
    """Addresses of the spec that become volumes, by the volume's name."""
    named = {
        "data": spec.dataset.uri if spec.dataset else None,
        "pretrained": spec.model.pretrained.uri if spec.model.pretrained else None,
        "script": spec.model.script,
    }
    return {name: uri for name, uri in named.items() if uri is not None and path_of(name, uri) != uri}
