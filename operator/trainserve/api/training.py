"""The sections of a training run, once: what is trained, on what, how, and what comes out.

A TrainJob's spec and the configuration that its pod reads (`trainserve.models.config`) compose these classes. A new
hyperparameter is one line here, and `make crds`.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from trainserve.api.base import ApiType, Rule, exactly_one_of, requires, stays_inside
from trainserve.api.open_fields import Options
from trainserve.api.scalars.address import DataUri, Digest
from trainserve.api.scalars.values import MAX_COUNT

CONFIG_FORMAT = 1
"""`formatVersion` of the configuration that a pod reads. One that names none is of format 1, as all of it are by now;
earlier releases know no such field."""

_NAME = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"
FUNCTION = r":[A-Za-z_][A-Za-z0-9_]*$"
"""The end of a script that names a function in it."""
SCRIPT_PATTERN = (
    rf"^(configmap://{_NAME}/[-._a-zA-Z0-9]+[.]py|pvc://{_NAME}/[^\s:]+[.]py|[^\s:]+[.]py)"
    r"(:[A-Za-z_][A-Za-z0-9_]*)?$"
)

OWN_VARIABLES = (
    r"^(TRAINSERVE_.*|PET_.*|TORCHELASTIC_.*|AWS_.*|NETRC|SSL_CERT_FILE|POD_IP|MASTER_ADDR|MASTER_PORT"
    r"|(GROUP_|ROLE_|LOCAL_)?(RANK|WORLD_SIZE))$"
)
"""What the operator, torchrun and the namespace's Secret say."""


class Variable(ApiType):
    """A variable of the script's environment, as in a Pod."""

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256, description="Its name.")
    value: str | None = Field(
        None, max_length=32_768, description="Its value, in which nothing is expanded. Unset: empty."
    )

    rules = (
        Rule(
            message="name must not be one of the run's own (TRAINSERVE_*, PET_*, TORCHELASTIC_*, RANK, WORLD_SIZE and "
            "the like, MASTER_ADDR, MASTER_PORT, POD_IP) or of its credentials' (AWS_*, NETRC, SSL_CERT_FILE)",
            cel=f"!self.name.matches('{OWN_VARIABLES}')",
            holds=lambda variable: not re.search(OWN_VARIABLES, variable.name),
        ),
    )


class Pretrained(ApiType):
    """Weights to start from. They must be the model's, tensor by tensor; only the head may differ, and is then new."""

    uri: DataUri = Field(
        description="Where the file (safetensors, or a PyTorch state dict) lies: pvc://<claim>/<path>, "
        "s3://<bucket>/<path> or https://<host>/<path>."
    )
    digest: Digest | None = Field(None, description="sha256 of the file. Unset: whatever the file holds is taken.")

    rules: ClassVar[tuple[Rule, ...]] = (stays_inside("uri"),)


Args = Annotated[list[Annotated[str, Field(max_length=4096)]], Field(min_length=1, max_length=256)]
Env = Annotated[list[Variable], Field(min_length=1, max_length=64)]
ENV_ONCE = Rule(
    message="env must not have a name twice",
    cel="!has(self.env) || self.env.all(one, self.env.exists_one(other, other.name == one.name))",
    holds=lambda model: len({each.name for each in model.env or ()}) == len(model.env or ()),
)


class ModelFields(ApiType):
    """What is trained: a model by its name, or what the user's own file makes."""

    name: str | None = Field(
        None, min_length=1, max_length=128, description="A zoo name such as convnet, or timm/<name>."
    )
    script: str | None = Field(
        None,
        pattern=SCRIPT_PATTERN,
        max_length=1024,
        description="The user's own Python file: configmap://<name>/<file>.py, pvc://<claim>/<path>.py or a path in "
        "the image. With :<function> that function returns the model, which is trained as a zoo model is; without, "
        "the file is run as it is and leaves model.onnx.",
    )
    args: Args | None = Field(None, description="Arguments of a whole script, its sys.argv[1:].")
    env: Env | None = Field(
        None,
        description="Variables of a whole script's environment. Their values are readable in the TrainJob and in the "
        "version's manifest: no place for secrets.",
    )
    options: Options | None = Field(None, description="Arguments of the model: scalars and lists of scalars.")
    pretrained: Pretrained | None = Field(None, description="Weights to start from. Unset: random ones.")
    freeze: list[Annotated[str, Field(min_length=1, max_length=256)]] | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Parameters that are not trained, as names with wildcards, such as 'features.*'.",
    )


class ModelSource(ModelFields):
    """What is trained: a model of the zoo, or the user's own code. Exactly one of name, script and command."""

    image: str | None = Field(
        None,
        min_length=1,
        description="Container image: the command's own, or for a script one that holds TrainServe and what the script "
        "imports. Unset: the operator's trainer image.",
    )
    command: list[str] | None = Field(
        None, min_length=1, description="The user's own command, run as it is, without a shell."
    )

    @property
    def is_built(self) -> bool:
        """Whether the training loop is ours: a zoo model, or what the script's function returns."""
        return self.name is not None or _names_a_function(self.script)

    rules = (
        exactly_one_of("name", "script", "command"),
        requires("image", "script", "command"),
        Rule(
            message="options, pretrained and freeze can only be set together with name or a script's function",
            cel="!(has(self.options) || has(self.pretrained) || has(self.freeze)) || has(self.name)"
            f" || (has(self.script) && self.script.matches('{FUNCTION}'))",
            holds=lambda model: model.is_built or not (model.options is not None or model.pretrained or model.freeze),
        ),
        Rule(
            message="args and env can only be set together with a script that names no function",
            cel=f"!(has(self.args) || has(self.env)) || (has(self.script) && !self.script.matches('{FUNCTION}'))",
            holds=lambda model: (
                (model.script is not None and not _names_a_function(model.script)) or not (model.args or model.env)
            ),
        ),
        ENV_ONCE,
        stays_inside("script"),
    )


def _names_a_function(script: str | None) -> bool:
    return script is not None and re.search(FUNCTION, script) is not None


class Split(ApiType):
    """How samples are divided when the data set brings no test part of its own."""

    test: float = Field(0.2, gt=0, lt=1, description="Share of the samples held out for evaluation.")


class Dataset(ApiType):
    """Where the samples come from. Exactly one of name and uri."""

    name: str | None = Field(
        None, min_length=1, max_length=128, description="A built-in data set: digits, fashion-mnist or synthetic."
    )
    uri: DataUri | None = Field(
        None, description="pvc://<claim>/<path>, s3://<bucket>/<path> or https://<host>/<path>."
    )
    digest: Digest | None = Field(
        None, description="sha256 of the file at the uri; another one is refused. Unset: whatever it holds is taken."
    )
    format: Literal["npz", "images", "parquet"] | None = Field(
        None,
        description="images: a folder or archive with one folder per class. Unset: by the uri's ending; a folder or "
        "an archive (.tar, .zip) holds parquet files, as the Hugging Face Hub lays them out, or else images.",
    )
    options: Options | None = Field(
        None,
        description="Of synthetic: shape, classes, samples. Of parquet: image and label, names of the columns, and "
        "config, where a folder holds several.",
    )
    size: list[Annotated[int, Field(ge=1, le=4096)]] | None = Field(
        None, min_length=2, max_length=2, description="Height and width in pixels to which every image is resized."
    )
    mode: Literal["rgb", "grey", "auto"] | None = Field(
        None,
        description="What every image becomes: RGB or grey. auto: grey where all are grey, else RGB. Unset: auto.",
    )
    task: Literal["classification", "regression"] = Field(
        "classification", description="What the targets are; it decides the loss (cross-entropy, mean squared error)."
    )
    split: Split | None = Field(None, description="Unset: the data set's own test part, else a fifth of its samples.")

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of("name", "uri"),
        requires("digest", "uri"),
        requires("format", "uri"),
        stays_inside("uri"),
    )


class Augment(ApiType):
    """Random changes of every training image, anew in each epoch."""

    crop: int = Field(
        0, ge=0, le=512, description="Pixels mirrored onto each side before a random crop of the old size."
    )
    flip: bool = Field(False, description="Mirror half of the images left to right.")


class Trainer(ApiType):
    """Hyperparameters of the training loop."""

    epochs: int = Field(5, ge=1, le=100_000, description="Passes over the training samples.")
    batch_size: int = Field(
        64, ge=1, le=1_048_576, description="Samples per optimizer step, over all processes and accumulations."
    )
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adam", description="Update rule.")
    learning_rate: float = Field(0.001, gt=0, le=10, description="Step size of the optimizer; the schedule's highest.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Of optimizer sgd.")
    weight_decay: float = Field(0.0, ge=0, le=1, description="Pull of the weights towards 0, per step.")
    schedule: Literal["constant", "cosine", "onecycle"] = Field(
        "constant", description="Course of the learning rate over the run."
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Share of the truth that is spread over all classes; classification alone."
    )
    accumulate: int = Field(
        1, ge=1, le=65_536, description="Parts of a batch that are computed one after the other, to fit into memory."
    )
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Decay of a moving average of the weights, which is what is exported. Unset: none.",
    )
    augment: Augment | None = Field(None, description="Random changes of the training images. Unset: none.")
    precision: Literal["auto", "fp32", "tf32", "bf16"] = Field("auto", description="Arithmetic of the training step.")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Seeds initialisation, shuffling and splits.")

    rules = (
        Rule(
            message="accumulate must be at most batchSize",
            cel="self.accumulate <= self.batchSize",
            holds=lambda trainer: trainer.accumulate <= trainer.batch_size,
        ),
    )


class Checkpoint(ApiType):
    """When the state of the run is saved, and how many are kept; a new attempt goes on from the newest."""

    every_epochs: int = Field(1, ge=1, le=MAX_COUNT, description="Epochs between two checkpoints.")
    keep: int = Field(2, ge=1, le=MAX_COUNT, description="Newest checkpoints that are kept.")


class Parity(ApiType):
    """How far onnxruntime's outputs may be from PyTorch's: |a - b| <= atol + rtol * |b|."""

    rtol: float | None = Field(
        None, ge=0, le=1, description="Relative tolerance. Unset: by the precision, 1e-3 for fp32."
    )
    atol: float | None = Field(
        None, ge=0, le=1, description="Absolute tolerance. Unset: by the precision, 1e-5 for fp32."
    )


Precision = Literal["fp32", "fp16", "int8"]


class Export(ApiType):
    """How the trained model becomes ONNX."""

    opset: int = Field(18, ge=18, le=20, description="Version of the ONNX operator set.")
    precision: Precision = Field("fp32", description="Number format of the weights.")
    dynamic_batch: bool = Field(True, description="Leave the batch axis open, so that requests can be batched.")
    parity: Parity = Parity()
    top_k: int | None = Field(
        None, ge=1, le=MAX_COUNT, description="Also answer the k most probable classes, at most all. Unset: no."
    )
    input: Literal["images", "tensor"] = Field(
        "images",
        description="What the served model takes: raw images (N, H, W, C), or the normalised tensor (N, C, H, W).",
    )


class Gates(ApiType):
    """What must hold before anything is published; not met, the run fails with reason GateNotMet."""

    min_accuracy: float | None = Field(None, ge=0, le=1, description="Least share of right answers on the test split.")
    max_loss: float | None = Field(None, ge=0, description="Highest mean loss on the test split.")
    max_accuracy_drop: float | None = Field(
        None,
        ge=0,
        le=1,
        description="How much less accurate than PyTorch in fp32 the exported fp16 or int8 file may be.",
    )


class Energy(ApiType):
    """What the measured energy is turned into."""

    grid_intensity: float | None = Field(
        None, ge=0, le=10_000, description="Grams of CO2 equivalent per kilowatt-hour. Unset: no emissions are stated."
    )


class Log(ApiType):
    """What the pod writes while it trains."""

    format: Literal["auto", "json"] = Field("auto", description="json: one JSON object a line. auto: text.")
