"""`model`: what is trained."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from trainserve.models import zoo
from trainserve.models.config.base import Section


class Model(Section):
    """A model of the zoo and its arguments."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> Self:
        if (reason := zoo.refusal(self.name)) is not None:
            raise ValueError(f"name: {reason}")
        return self
