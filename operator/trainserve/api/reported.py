"""Reports of a run's pods: its progress, its measurements and its published version.

A run's termination message and the status of its TrainJob use the same classes.
"""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from trainserve.api.base import StatusType
from trainserve.api.scalars.address import Digest
from trainserve.api.scalars.values import MAX_COUNT, Count, Figure, Text, Timestamp


class Said(StatusType):
    """Base of what pods say, with fields in the wire's camelCase."""

    model_config = ConfigDict(frozen=True)

    def wire(self) -> dict[str, Any]:
        """Return the JSON form with only the fields that were set; null stands for an unknown value."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class Progress(Said):
    """Progress of the run, as reported by rank 0."""

    epoch: Count | None = Field(
        None, description="Epochs that are finished.", examples=[3], json_schema_extra={"unit": "epochs"}
    )
    epochs: Count | None = Field(
        None, description="Epochs that were asked for.", examples=[5], json_schema_extra={"unit": "epochs"}
    )
    step: Count | None = Field(None, description="Optimizer steps that are done.", examples=[1200])
    percent: int | None = Field(
        None,
        ge=0,
        le=100,
        description="Share of the training that is done.",
        examples=[60],
        json_schema_extra={"unit": "percent"},
    )
    samples_per_second: Figure = Field(
        None, description="Training throughput.", examples=[4437.4], json_schema_extra={"unit": "samples per second"}
    )
    eta_seconds: Figure = Field(
        None,
        description="Estimated time until the training ends.",
        examples=[42.5],
        json_schema_extra={"unit": "seconds"},
    )
    loss: Figure = Field(None, description="Mean training loss over the current epoch so far.", examples=[0.21])
    accuracy: Figure = Field(None, description="Share of correct predictions.", examples=[0.93])
    gpu_utilization: Figure = Field(
        None, description="Share of the time in which the GPUs were busy, 0 to 1.", examples=[0.87]
    )
    gpu_memory_bytes: Count | None = Field(
        None, description="Memory in use on the GPUs.", examples=[8589934592], json_schema_extra={"unit": "bytes"}
    )
    updated_time: Timestamp | None = Field(
        None, description="When the pod reported this.", examples=["2026-11-22T16:00:00Z"]
    )


class MeasuredEnergy(Said):
    """Energy of the training, from counters alone; what no counter gave is absent, and `reason` says why."""

    joules: Figure = Field(
        None,
        description="Energy of the GPUs that trained; in a run on the CPU, of the node's processors.",
        examples=[5120.5],
        json_schema_extra={"unit": "joules"},
    )
    source: Text = Field(None, description="Counter that was read: nvml, rapl, or none.", examples=["nvml"])
    reason: Text = Field(
        None, description="Why a reading is missing.", examples=["no RAPL counter: /sys/class/powercap is absent"]
    )
    joules_per_epoch: Figure = Field(
        None, description="Mean energy of one epoch.", examples=[1024.1], json_schema_extra={"unit": "joules"}
    )
    joules_per_image: Figure = Field(
        None, description="Mean energy of one training sample.", examples=[0.02], json_schema_extra={"unit": "joules"}
    )
    cpu_joules: Figure = Field(
        None,
        description="Energy of the node's processors and memory, whatever ran there.",
        examples=[640.0],
        json_schema_extra={"unit": "joules"},
    )
    grams_co2e: Figure = Field(
        None,
        alias="gramsCO2e",
        description="Emissions of `joules`, if energy.gridIntensity is given.",
        examples=[0.5],
        json_schema_extra={"unit": "grams of CO2 equivalent"},
    )


class Result(Said):
    """Measurements of the finished run; those of the model are on the test split."""

    accuracy: Figure = Field(None, description="Share of correct predictions on the test split.", examples=[0.974])
    loss: Figure = Field(None, description="Mean loss on the test split.", examples=[0.09])
    samples_per_second: Figure = Field(
        None, description="Training throughput.", examples=[4437.4], json_schema_extra={"unit": "samples per second"}
    )
    seconds_lost: Figure = Field(
        None,
        description="Training time lost to restarts: done after a checkpoint and done again.",
        examples=[12.5],
        json_schema_extra={"unit": "seconds"},
    )
    precision: Text = Field(None, description="Arithmetic of the training step: fp32, tf32 or bf16.", examples=["bf16"])
    exported_accuracy: Figure = Field(
        None, description="Accuracy of the exported file on the test split, if it was measured.", examples=[0.972]
    )
    exported_loss: Figure = Field(
        None, description="Mean loss of the exported file on the test split, if it was measured.", examples=[0.1]
    )
    energy: MeasuredEnergy | None = None
    energy_joules: Figure = Field(
        None,
        description="Same as energy.joules; absent if there is no energy counter.",
        examples=[5120.5],
        json_schema_extra={"unit": "joules"},
    )
    gpu_seconds: Figure = Field(
        None,
        description="Training time multiplied by the number of GPUs.",
        examples=[360.0],
        json_schema_extra={"unit": "GPU-seconds"},
    )


class MeasuredParity(Said):
    """Largest differences seen between onnxruntime's outputs and PyTorch's."""

    max_abs: float = Field(description="Largest absolute difference.", examples=[1e-7])
    max_rel: float = Field(
        description="Largest relative difference, over outputs larger than the absolute tolerance.", examples=[1e-6]
    )


class Artifact(Said):
    """The published version."""

    uri: str = Field(
        min_length=1,
        description="Address of the version in the model store.",
        examples=["pvc://trainserve-models/default/digits/1"],
    )
    version: int = Field(ge=1, le=MAX_COUNT, description="Number of the version.", examples=[1])
    digest: Digest = Field(
        description="sha256 of the version's manifest.json.",
        examples=["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    )
    bytes: Count = Field(description="Size of model.onnx.", examples=[431872], json_schema_extra={"unit": "bytes"})
    opset: Count = Field(description="Version of the ONNX operator set.", examples=[18])
    precision: Text = Field(None, description="Number format of the weights: fp32, fp16 or int8.", examples=["fp32"])
    parity: MeasuredParity | None = Field(
        None, description="Absent where a script wrote the file itself and recorded nothing to compare it with."
    )
