"""`trainer`: how it is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainserve.models.config.base import Section


class Trainer(Section):
    """Hyperparameters."""

    epochs: int = Field(5, ge=1, le=100_000)
    batch_size: int = Field(64, ge=1, le=1_048_576)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(0.001, gt=0, le=10)
    precision: Literal["auto", "fp32"] = "auto"
    seed: int = Field(0, ge=0, le=2**32 - 1)
