"""`trainer`: how it is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from trainserve.models.config.base import Section


class Augment(Section):
    """Random changes of every training image, anew in each epoch: moved by at most `crop` pixels, mirrored."""

    crop: int = Field(0, ge=0, le=512)
    flip: bool = False


class Trainer(Section):
    """Hyperparameters. `batch_size` counts the samples of one optimizer step, over all processes and accumulations."""

    epochs: int = Field(5, ge=1, le=100_000)
    batch_size: int = Field(64, ge=1, le=1_048_576)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(0.001, gt=0, le=10)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0, le=1)
    schedule: Literal["constant", "cosine", "onecycle"] = "constant"
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    accumulate: int = Field(1, ge=1, le=65_536)
    ema: float | None = Field(None, gt=0, lt=1)
    augment: Augment | None = None
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    seed: int = Field(0, ge=0, le=2**32 - 1)

    @field_validator("accumulate")
    @classmethod
    def _a_sample_for_each_part(cls, accumulate: int, info: ValidationInfo) -> int:
        batch_size = info.data.get("batch_size")
        if batch_size is not None and accumulate > batch_size:
            raise ValueError(f"{accumulate} is not allowed; must be <= trainer.batchSize, {batch_size}")
        return accumulate
