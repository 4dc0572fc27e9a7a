"""`model`: what is trained, what it begins with, and what of it stays as it is."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from trainserve.models import zoo
from trainserve.models.config.base import Section
from trainserve.models.config.uri import Uri, is_fetched


class Pretrained(Section):
    """A file of weights: its path, or a URI (s3, https, file) that is fetched into the cache; `digest` is its sha256.

    Beside a path the URI only says where what lies there came from.
    """

    path: str | None = Field(None, min_length=1)
    uri: Uri | None = None
    digest: str | None = Field(None, pattern=r"^sha256:[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _a_source(self) -> Self:
        if self.path is None and self.uri is None:
            raise ValueError("one of path and uri is required")
        if self.path is None and self.uri is not None and not is_fetched(self.uri):
            raise ValueError(f"uri: {self.uri!r} is read where it is mounted; path must say where that is")
        return self


OWN_VARIABLES = (
    r"^(TRAINSERVE_.*|PET_.*|TORCHELASTIC_.*|AWS_.*|NETRC|SSL_CERT_FILE|POD_IP|MASTER_ADDR|MASTER_PORT"
    r"|(GROUP_|ROLE_|LOCAL_)?(RANK|WORLD_SIZE))$"
)
"""As in trainserve.api.training."""


class Variable(Section):
    """A variable of a whole script's environment."""

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256)
    value: str | None = Field(None, max_length=32_768)

    @field_validator("name")
    @classmethod
    def _not_ours(cls, name: str) -> str:
        if re.search(OWN_VARIABLES, name):
            raise ValueError(f"{name} is not allowed; it is the run's own, or one of its credentials")
        return name


def _each_once(env: list[Variable] | None) -> list[Variable] | None:
    names = [variable.name for variable in env or ()]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name} is there twice")
    return env


Args = Annotated[list[Annotated[str, Field(max_length=4096)]], Field(min_length=1, max_length=256)]
Env = Annotated[list[Variable], Field(min_length=1, max_length=64), AfterValidator(_each_once)]


class Model(Section):
    """A model of the zoo or of timm by name, or the user's own function that builds one, and its arguments.

    `freeze`: globs of parameter names.
    """

    name: str | None = None
    script: str | None = None
    args: Args | None = None
    env: Env | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    pretrained: Pretrained | None = None
    freeze: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)

    @field_validator("script")
    @classmethod
    def _file_and_function(cls, script: str | None) -> str | None:
        if script is not None and not re.fullmatch(r"[^:]+\.py(:[A-Za-z_]\w*)?", script):
            raise ValueError(f'{json.dumps(script)} is not allowed; must be "path.py:function", or "path.py"')
        return script

    @model_validator(mode="after")
    def _known(self) -> Self:
        if (self.name is None) == (self.script is None):
            raise ValueError("exactly one of name and script is required")
        for field, value in (("args", self.args), ("env", self.env)):
            if value is not None:
                raise ValueError(f"{field}: not allowed; they are a whole script's, which names no function")
        if self.name is not None and (reason := zoo.refusal(self.name)) is not None:
            raise ValueError(f"name: {reason}")
        return self

    def __str__(self) -> str:
        return self.name or self.script or ""
