"""Helpers that return the parts of a built TrainJob or ModelServe that tests inspect."""

from __future__ import annotations

import json
from typing import Any

from tests.operator.support import DIGEST, SETTINGS, trainjob
from trainserve.api.modelserve import ModelServeSpec
from trainserve.api.trainjob import TrainJobSpec
from trainserve.operator.modelserve import builders as serving
from trainserve.operator.modelserve.version import Version
from trainserve.operator.objects import Object
from trainserve.operator.settings import Settings
from trainserve.operator.trainjob.builders import attempt_objects

SERVE: Object = trainjob(name="web") | {"kind": "ModelServe"}


VERSION = Version("digits", 3, "file:///srv/models/default/digits/3", DIGEST)


def objects(job: Object, settings: Settings = SETTINGS) -> list[Object]:
    return attempt_objects(job, TrainJobSpec.model_validate(job["spec"]), 1, settings)


def pod_spec(job: Object, settings: Settings = SETTINGS) -> Object:
    return dict(objects(job, settings)[-1]["spec"])


def run(settings: Settings = SETTINGS, **spec: Any) -> tuple[Object, Object]:
    """Return the spec of rank 0's pod and the CONFIG.json that it reads."""
    created = objects(trainjob(**spec), settings)
    (pod, *_) = [wanted for wanted in created if wanted["kind"] == "Pod"]
    return pod["spec"], json.loads(created[0]["data"]["config.json"])


def mounts(spec: Object) -> dict[str, tuple[str, bool]]:
    """Return (volume name, whether it is read-only) by mount path."""
    (container,) = spec["containers"]
    return {each["mountPath"]: (each["name"], bool(each.get("readOnly"))) for each in container["volumeMounts"]}


def settings(store: str, **more: str) -> Settings:
    return Settings.from_environment({"TRAINSERVE_STORE": store, **more})


def env(container: Object) -> dict[str, Any]:
    return {variable["name"]: variable.get("value") for variable in container["env"]}


def store_mounts(container: Object) -> list[Object]:
    return [mount for mount in container["volumeMounts"] if mount["name"] == "store"]


def serving_pod(settings: Settings = SETTINGS, version: Version = VERSION, **spec: Any) -> Object:
    """Return the spec of a serving pod."""
    parsed = ModelServeSpec.model_validate({"model": {"name": "digits"}} | spec)
    return dict(serving.deployment(SERVE, parsed, version, settings)["spec"]["template"]["spec"])


def option(container: Object, name: str) -> str | None:
    """Return the value that follows option `name` in a container's command, or None without that option."""
    command: list[str] = container["command"]
    return command[command.index(name) + 1] if name in command else None
