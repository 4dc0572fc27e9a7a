"""The sections of a training run, each defined once: the data set, the training and the export.

A TrainJob's spec and the configuration that its pod reads (`trainserve.models.config`) compose these classes. To add a
hyperparameter, add one line here and run `make crds`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from trainserve.api.base import ApiType, Rule, exactly_one_of, requires, stays_inside
from trainserve.api.open_fields import Options
from trainserve.api.scalars.address import DataUri, Digest
from trainserve.api.scalars.values import MAX_COUNT

CONFIG_FORMAT = 1
"""`formatVersion` of the configuration that a pod reads. One that names none is of format 1, as all of it are by now;
earlier releases know no such field."""


class Split(ApiType):
    """Split into training and test samples, for data sets without a test part."""

    test: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="Share of the samples held out for evaluation.",
        examples=[0.1],
        json_schema_extra={"unit": "share of the samples"},
    )


class Dataset(ApiType):
    """Source of the samples. Exactly one of name and uri."""

    name: str | None = Field(
        None,
        min_length=1,
        max_length=128,
        description="A built-in data set: digits, fashion-mnist or synthetic.",
        examples=["digits"],
    )
    uri: DataUri | None = Field(
        None,
        description="Address of the file or folder: pvc://<claim>/<path>, s3://<bucket>/<path> or "
        "https://<host>/<path>.",
        examples=["s3://datasets/flowers.zip"],
    )
    digest: Digest | None = Field(
        None,
        description="sha256 of the file at the uri; a file with another one is refused. Unset: any content is "
        "accepted.",
        examples=["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    )
    format: Literal["npz", "images", "parquet"] | None = Field(
        None,
        description="images: a folder or archive with one folder per class. Unset: by the ending of the uri; a folder"
        " or an archive (.tar, .zip) holds parquet files, as the Hugging Face Hub lays them out, or else "
        "images.",
        examples=["parquet"],
    )
    options: Options | None = Field(
        None,
        description="For synthetic: shape, classes and samples. For parquet: image and label, the names of the "
        "columns, and config, if a folder holds several.",
        examples=[{"image": "picture", "label": "species"}],
    )
    size: list[Annotated[int, Field(ge=1, le=4096)]] | None = Field(
        None,
        min_length=2,
        max_length=2,
        description="Height and width in pixels to which every image is resized.",
        examples=[[32, 32]],
        json_schema_extra={"unit": "pixels"},
    )
    mode: Literal["rgb", "grey", "auto"] | None = Field(
        None,
        description="Colour mode of all images: RGB or grey. auto: grey if all are grey, else RGB. Unset: auto.",
    )
    task: Literal["classification", "regression"] = Field(
        "classification", description="Type of the targets; it decides the loss (cross-entropy, mean squared error)."
    )
    split: Split | None = Field(
        None,
        description="Split of the samples if the data set has no test part of its own. Unset: by its own test "
        "part, else a fifth of the samples is held out.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of("name", "uri"),
        requires("digest", "uri"),
        requires("format", "uri"),
        stays_inside("uri"),
    )


class Augment(ApiType):
    """Random changes of every training image, anew in each epoch."""

    crop: int = Field(
        0,
        ge=0,
        le=512,
        description="Pixels mirrored onto each side of an image before a random crop of the original size.",
        examples=[4],
        json_schema_extra={"unit": "pixels"},
    )
    flip: bool = Field(False, description="Mirror a random half of the images left to right.", examples=[True])


class Trainer(ApiType):
    """Hyperparameters of the training loop."""

    epochs: int = Field(
        5,
        ge=1,
        le=100_000,
        description="Passes over the training samples.",
        examples=[30],
        json_schema_extra={"unit": "epochs"},
    )
    batch_size: int = Field(
        64,
        ge=1,
        le=1_048_576,
        description="Samples per optimizer step, over all processes and accumulations.",
        examples=[128],
        json_schema_extra={"unit": "samples"},
    )
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adam", description="Update rule.")
    learning_rate: float = Field(
        0.001,
        gt=0,
        le=10,
        description="Step size of the optimizer; the highest value of the schedule.",
        examples=[0.01],
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum; used by optimizer sgd only.", examples=[0.95])
    weight_decay: float = Field(
        0.0, ge=0, le=1, description="Decay of the weights towards 0, per step.", examples=[0.0005]
    )
    schedule: Literal["constant", "cosine", "onecycle"] = Field(
        "constant", description="Course of the learning rate over the run."
    )
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of each label that is spread over all classes; classification only.",
        examples=[0.1],
    )
    accumulate: int = Field(
        1,
        ge=1,
        le=65_536,
        description="Number of parts in which a batch is computed one after the other, to fit into memory.",
        examples=[4],
    )
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Decay of a moving average of the weights, which is what is exported. Unset: none.",
        examples=[0.999],
    )
    augment: Augment | None = Field(
        None, description="Random changes of every training image, anew in each epoch. Unset: none."
    )
    precision: Literal["auto", "fp32", "tf32", "bf16"] = Field("auto", description="Arithmetic of the training step.")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Seed of initialisation, shuffling and splits.", examples=[42])

    rules = (
        Rule(
            message="accumulate must be at most batchSize",
            cel="self.accumulate <= self.batchSize",
            holds=lambda trainer: trainer.accumulate <= trainer.batch_size,
        ),
    )


class Checkpoint(ApiType):
    """Checkpoints of the run: how often one is saved and how many are kept. A new attempt resumes from the newest."""

    every_epochs: int = Field(
        1,
        ge=1,
        le=MAX_COUNT,
        description="Epochs between two checkpoints.",
        examples=[5],
        json_schema_extra={"unit": "epochs"},
    )
    keep: int = Field(2, ge=1, le=MAX_COUNT, description="Number of newest checkpoints that are kept.", examples=[3])


class Parity(ApiType):
    """Largest difference of onnxruntime's outputs from PyTorch's: |a - b| <= atol + rtol * |b|."""

    rtol: float | None = Field(
        None, ge=0, le=1, description="Relative tolerance. Unset: by the precision, 1e-3 for fp32.", examples=[0.01]
    )
    atol: float | None = Field(
        None, ge=0, le=1, description="Absolute tolerance. Unset: by the precision, 1e-5 for fp32.", examples=[0.001]
    )


Precision = Literal["fp32", "fp16", "int8"]


class Export(ApiType):
    """Export of the trained model to ONNX."""

    opset: int = Field(18, ge=18, le=20, description="Version of the ONNX operator set.", examples=[20])
    precision: Precision = Field("fp32", description="Number format of the weights.")
    dynamic_batch: bool = Field(
        True, description="Leave the batch axis open, so that requests can be batched.", examples=[True]
    )
    parity: Parity = Parity()
    top_k: int | None = Field(
        None,
        ge=1,
        le=MAX_COUNT,
        description="Also return the k most probable classes; at most all of them. Unset: no.",
        examples=[5],
    )
    input: Literal["images", "tensor"] = Field(
        "images",
        description="Input of the served model: raw images (N, H, W, C), or the normalised tensor (N, C, H, W).",
    )


class Gates(ApiType):
    """Conditions for publishing. If one is not met, the run fails with reason GateNotMet."""

    min_accuracy: float | None = Field(
        None, ge=0, le=1, description="Least share of correct predictions on the test split.", examples=[0.95]
    )
    max_loss: float | None = Field(None, ge=0, description="Highest mean loss on the test split.", examples=[0.2])
    max_accuracy_drop: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Largest allowed loss of accuracy of the exported fp16 or int8 file against PyTorch in fp32.",
        examples=[0.02],
    )


class Energy(ApiType):
    """Conversion of the measured energy to emissions."""

    grid_intensity: float | None = Field(
        None,
        ge=0,
        le=10_000,
        description="Grams of CO2 equivalent per kilowatt-hour. Unset: no emissions are stated.",
        examples=[350],
        json_schema_extra={"unit": "gCO2e/kWh"},
    )


class Log(ApiType):
    """Log of the pod."""

    format: Literal["auto", "json"] = Field("auto", description="json: one JSON object a line. auto: text.")
