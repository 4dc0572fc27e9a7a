"""The model that a TrainJob trains: by its name, or the user's own file, with its arguments and its initial weights."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from pydantic import Field

from trainserve.api.base import ApiType, Rule, exactly_one_of, requires, stays_inside
from trainserve.api.open_fields import Options
from trainserve.api.scalars.address import DataUri, Digest

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
"""Variables that the operator, torchrun and the namespace's Secret set."""


class Variable(ApiType):
    """A variable of the script's environment, as in a Pod."""

    name: str = Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        max_length=256,
        description="Name of the variable.",
        examples=["LEARNING_RATE"],
    )
    value: str | None = Field(
        None,
        max_length=32_768,
        description="Value of the variable; nothing in it is expanded. Unset: empty.",
        examples=["0.001"],
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
        "s3://<bucket>/<path> or https://<host>/<path>.",
        examples=["s3://weights/resnet18.safetensors"],
    )
    digest: Digest | None = Field(
        None,
        description="sha256 of the file. Unset: whatever the file holds is taken.",
        examples=["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    )

    rules: ClassVar[tuple[Rule, ...]] = (stays_inside("uri"),)


Args = Annotated[list[Annotated[str, Field(max_length=4096)]], Field(min_length=1, max_length=256)]
Env = Annotated[list[Variable], Field(min_length=1, max_length=64)]
ENV_ONCE = Rule(
    message="env must not have a name twice",
    cel="!has(self.env) || self.env.all(one, self.env.exists_one(other, other.name == one.name))",
    holds=lambda model: len({each.name for each in model.env or ()}) == len(model.env or ()),
)


class ModelFields(ApiType):
    """The model to train: one of the zoo by its name, or that of the user's own file."""

    name: str | None = Field(
        None,
        min_length=1,
        max_length=128,
        description="Name of a model of the zoo, such as convnet, or timm/<name>.",
        examples=["convnet", "timm/resnet18"],
    )
    script: str | None = Field(
        None,
        pattern=SCRIPT_PATTERN,
        max_length=1024,
        description="The user's own Python file: configmap://<name>/<file>.py, pvc://<claim>/<path>.py or a path in "
        "the image. With :<function> that function returns the model, which is trained as a zoo model is; without, "
        "the file is run as it is and leaves model.onnx.",
        examples=["configmap://my-model/model.py:build"],
    )
    args: Args | None = Field(
        None, description="Arguments of a script that is run as it is: its sys.argv[1:].", examples=[["--epochs", "5"]]
    )
    env: Env | None = Field(
        None,
        description="Environment variables of a script that is run as it is. Their values are readable in the "
        "TrainJob and in the version's manifest: do not put secrets here.",
        examples=[[{"name": "LEARNING_RATE", "value": "0.001"}]],
    )
    options: Options | None = Field(
        None, description="Arguments of the model: scalars and lists of scalars.", examples=[{"hidden": 256}]
    )
    pretrained: Pretrained | None = Field(None, description="Weights to start from. Unset: random ones.")
    freeze: list[Annotated[str, Field(min_length=1, max_length=256)]] | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Parameters that are not trained: names with wildcards, such as 'features.*'.",
        examples=[["features.*"]],
    )


class ModelSource(ModelFields):
    """The model to train: one of the zoo, or the user's own code. Exactly one of name, script and command."""

    image: str | None = Field(
        None,
        min_length=1,
        description="Container image: the command's own, or for a script one that holds TrainServe and what the script "
        "imports. Unset: the operator's trainer image.",
        examples=["registry.example.com/team/trainer:1.2"],
    )
    command: list[str] | None = Field(
        None,
        min_length=1,
        description="The user's own command, run as it is, without a shell.",
        examples=[["python", "/app/train.py"]],
    )

    @property
    def is_built(self) -> bool:
        """Whether TrainServe's training loop trains it: a zoo model, or one that the script's function returns."""
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
