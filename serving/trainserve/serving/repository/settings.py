"""How a model is served: the fields of a ModelServe's `spec.triton`, of `--settings FILE` and of a tuner's result.

model_config.py translates them to Triton's configuration, and checks that they suit the model.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, ValidationError

from trainserve.api.refusal import problems_of
from trainserve.api.triton import ServedModel


class InvalidSettings(ValueError):
    """Settings that are invalid, or that this model or machine does not support; the message names the field."""


class Settings(ServedModel):
    """How one model is served; a server may hold several versions of it."""

    model_config = ConfigDict(frozen=True)

    version_policy: Literal["latest", "all"] | list[Annotated[int, Field(ge=1)]] = Field(
        "latest", description="Versions that are served if a repository holds several."
    )

    @classmethod
    def of_json(cls, text: str) -> Settings:
        """Parse the JSON that the operator passes to a pod. Raises InvalidSettings."""
        return _checked(lambda: cls.model_validate_json(text))

    @classmethod
    def of_file(cls, path: Path) -> Settings:
        """Read a YAML or JSON file. Raises OSError, InvalidSettings."""
        import yaml

        try:
            content = yaml.safe_load(path.read_bytes())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InvalidSettings(f"{path}: {' '.join(str(error).split())}") from None
        return _checked(lambda: cls.model_validate({} if content is None else content))


def cautions(settings: Settings) -> list[str]:
    """List surprising consequences of these settings; docs/serving.md has measurements.

    Since 24.04, the batcher of a queue with bounds or priorities wakes only when a request is accepted while an
    instance is idle, and otherwise twice a second (triton-inference-server/core, src/dynamic_batch_scheduler.cc,
    WaitForPayloadSlotAvailable).
    """
    queue, found = settings.dynamic_batching.queue, []
    sleepy = queue.size or queue.timeout or settings.priorities
    field = "priorities" if settings.priorities else "dynamicBatching.queue"
    if queue.size:
        found.append(
            "settings.dynamicBatching.queue.size: a full queue wakes Triton's batcher twice a second only, and until"
            " then nothing runs; bound the wait with queue.timeout, and let size be more than arrives within it"
        )
    if settings.instances == 1 and sleepy:
        found.append(
            f"settings.{field}: with one instance a request may wait half a second though nothing runs, because"
            " Triton's batcher sleeps; 2 instances make that rare, 3 rarer still"
        )
    if settings.dynamic_batching.max_queue_delay and sleepy:
        found.append(
            f"settings.dynamicBatching.maxQueueDelay: together with {field} it may cost ever more throughput, until the"
            " model is loaded anew, on a Triton without triton-inference-server/core#509 (summer of 2026)"
        )
    return found


def _checked(read: Callable[[], Settings]) -> Settings:
    try:
        return read()
    except ValidationError as error:
        raise InvalidSettings("; ".join(problems_of(error, Settings, "settings"))) from None
