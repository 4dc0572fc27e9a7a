"""`export` and `gates`: what becomes of the trained model, and what must hold before it is published."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainserve.models.config.base import Section


class Parity(Section):
    """|onnx - torch| <= atol + rtol * |torch|; what is not set follows from the precision."""

    rtol: float | None = Field(None, ge=0, le=1)
    atol: float | None = Field(None, ge=0, le=1)


Precision = Literal["fp32", "fp16", "int8"]


class Export(Section):
    """How the trained model becomes ONNX."""

    opset: int = Field(18, ge=18, le=20)
    precision: Precision = "fp32"
    dynamic_batch: Literal[True] = True
    input: Literal["images", "tensor"] = "images"
    top_k: int | None = Field(None, ge=1)
    parity: Parity = Field(default_factory=Parity)


class Gates(Section):
    """What must hold before anything is published."""

    min_accuracy: float | None = Field(None, ge=0, le=1)
    max_loss: float | None = Field(None, ge=0)
    max_accuracy_drop: float | None = Field(None, ge=0, le=1)
