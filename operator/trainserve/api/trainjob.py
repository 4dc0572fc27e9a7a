"""TrainJob: train a model once, export it to ONNX, check it and publish it as the next version in the model store."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainserve.api.base import ApiType, PodTemplate, Resources, Rule
from trainserve.api.model_source import FUNCTION, ModelSource
from trainserve.api.scalars.names import ModelName
from trainserve.api.scalars.values import MAX_COUNT
from trainserve.api.training import Checkpoint, Dataset, Energy, Export, Gates, Log, Trainer

IMMUTABLE = "spec cannot change once the first attempt has started, but for spec.policy"
NAME_LIMIT = 52
"""Longest name of a TrainJob: its pods are named <job>-<attempt>-<rank>, and a pod's host name has 63 characters."""


class Workers(ApiType):
    """The gang: pods (nodes) times processes in each."""

    nodes: int = Field(
        1, ge=1, le=1024, description="Number of pods; they run on different nodes if there are enough.", examples=[2]
    )
    processes_per_node: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = Field(
        "auto",
        description="Processes in each pod, from 1 to 64. auto: one for each GPU, or one if the pod has none.",
        examples=[4],
    )

    def processes(self, gpus: int) -> int:
        """Return the number of processes in each pod, which has `gpus` GPUs."""
        return max(gpus, 1) if self.processes_per_node == "auto" else self.processes_per_node


class Output(ApiType):
    """Destination of the result in the model store."""

    model: ModelName = Field(
        description="Name in the model store; each success publishes the next version under it.", examples=["digits"]
    )


class Policy(ApiType):
    """Retries, deadlines and clean-up."""

    retries: int = Field(
        3, ge=0, le=100, description="Further attempts after a failure of the training itself.", examples=[5]
    )
    suspend: bool = Field(
        False, description="Keep the run from starting, or stop it at its next checkpoint.", examples=[False]
    )
    active_deadline_seconds: int | None = Field(
        None,
        ge=1,
        le=MAX_COUNT,
        description="Longest time that the run may be running; after it the run fails.",
        examples=[86400],
        json_schema_extra={"unit": "seconds"},
    )
    pending_deadline_seconds: int | None = Field(
        None,
        ge=1,
        le=MAX_COUNT,
        description="Longest time that the run's pods may wait for a node; after it the run fails.",
        examples=[3600],
        json_schema_extra={"unit": "seconds"},
    )
    ttl_seconds_after_finished: int | None = Field(
        None,
        ge=0,
        le=MAX_COUNT,
        description="Time after which a finished TrainJob is deleted. Unset: it is kept.",
        examples=[604800],
        json_schema_extra={"unit": "seconds"},
    )


class TrainJobSpec(ApiType):
    """The desired run. Immutable once the first attempt has started, but for policy."""

    model: ModelSource
    dataset: Dataset | None = None
    trainer: Trainer = Trainer()
    workers: Workers = Workers()
    resources: Resources = Resources()
    pod: PodTemplate | None = None
    checkpoint: Checkpoint | None = None
    export: Export = Export()
    gates: Gates | None = None
    output: Output | None = None
    energy: Energy | None = None
    log: Log = Log()
    policy: Policy = Policy()

    rules = (
        Rule(
            message="dataset is required to train a zoo model or what a script's function returns",
            cel="!(has(self.model.name)"
            f" || (has(self.model.script) && self.model.script.matches('{FUNCTION}'))) || has(self.dataset)",
            holds=lambda spec: not spec.model.is_built or spec.dataset is not None,
        ),
        Rule(
            message="output is required to train a zoo model",
            cel="!has(self.model.name) || has(self.output)",
            holds=lambda spec: spec.model.name is None or spec.output is not None,
        ),
        Rule(
            message="workers.processesPerNode must be at most resources.gpus where GPUs are asked for",
            cel="self.resources.gpus == 0 || self.workers.processesPerNode == 'auto'"
            " || self.workers.processesPerNode <= self.resources.gpus",
            holds=lambda spec: (
                spec.resources.gpus == 0 or spec.workers.processes(spec.resources.gpus) <= spec.resources.gpus
            ),
        ),
    )
