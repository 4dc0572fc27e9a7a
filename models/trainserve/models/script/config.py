"""CONFIG.json of a whole script: `model.script` names the file, which trains by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from trainserve.api.base import ApiType
from trainserve.api.model_source import ENV_ONCE, Args, Env
from trainserve.models.config import Config, Dataset, checked
from trainserve.store.masking import CREDENTIAL


class ScriptModel(ApiType):
    """The script's path, its arguments and additional environment variables."""

    script: str = Field(min_length=1, pattern=r"\.py$")
    args: Args | None = None
    env: Env | None = None

    rules = (ENV_ONCE,)


class ScriptConfig(Config):
    """The config of a whole script. `dataset` and `trainer` are for the script only, which reads $TRAINSERVE_CONFIG."""

    model: ScriptModel  # type: ignore[assignment]
    dataset: Dataset | None = None  # type: ignore[assignment]

    @model_validator(mode="after")
    def _inputs_as_the_script_has_them(self) -> Self:
        if self.export.input != "images":
            raise ValueError("export.input: must be 'images'; a script's model takes what the script gives it")
        return self

    def spec(self) -> dict[str, Any]:
        """The sections that the run acts on, for the manifest."""
        spec = super().spec()
        for variable in spec["model"].get("env", ()):
            if CREDENTIAL.search(variable["name"]):  # more people may read a manifest than a TrainJob
                variable.pop("value", None)
        return {name: section for name, section in spec.items() if name not in ("trainer", "checkpoint")}


def parse(content: object, folder: Path) -> ScriptConfig:
    """Validate a parsed CONFIG.json; the script's path is relative to `folder`. Raises ConfigError."""
    return checked(ScriptConfig, content, folder)


def is_whole(content: object) -> bool:
    """Whether a parsed CONFIG.json is of a whole script instead of a model that TrainServe trains."""
    model = content.get("model") if isinstance(content, dict) else None
    script = model.get("script") if isinstance(model, dict) else None
    return isinstance(script, str) and ":" not in script
