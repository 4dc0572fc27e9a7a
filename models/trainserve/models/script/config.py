"""CONFIG.json of a whole script: `model.script` names the file, and the script itself says how it trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from trainserve.models.config import Config, Dataset, refusal
from trainserve.models.config.base import Section
from trainserve.models.errors import UserError


class ScriptModel(Section):
    """The script's path."""

    script: str = Field(min_length=1, pattern=r"\.py$")


class ScriptConfig(Config):
    """One run of a whole script. Nothing acts on `dataset` and `trainer` but the script, from $TRAINSERVE_CONFIG."""

    model: ScriptModel  # type: ignore[assignment]
    dataset: Dataset | None = None  # type: ignore[assignment]

    def spec(self) -> dict[str, Any]:
        """What was asked for, without the defaults of what is not acted on."""
        given = {name for name in ("dataset", "trainer") if name in self.model_fields_set}
        spec = super().spec()
        return {name: value for name, value in spec.items() if name in given or name not in ("dataset", "trainer")}


def parse(content: object, folder: Path) -> ScriptConfig:
    """A parsed CONFIG.json as a ScriptConfig; the script's path is relative to `folder`. Raises UserError."""
    try:
        config = ScriptConfig.model_validate(content)
    except ValidationError as error:
        raise UserError(refusal.line(ScriptConfig, error.errors(include_url=False)[0])) from None
    config._folder = folder.absolute()
    return config


def is_whole(content: object) -> bool:
    """Whether a parsed CONFIG.json asks for a whole script, and not for a model that our loop trains."""
    model = content.get("model") if isinstance(content, dict) else None
    script = model.get("script") if isinstance(model, dict) else None
    return isinstance(script, str) and ":" not in script
