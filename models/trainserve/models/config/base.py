"""What every section of CONFIG.json has in common: camelCase, strict types, no unknown fields, no infinities."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Section(BaseModel):
    """One section."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=False,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )


Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)]


def unknown(name: str, known: Iterable[str]) -> str:
    """`'convnte' is unknown; did you mean 'convnet'? known: convnet`."""
    names = sorted(known)
    return f"{name!r} is unknown; {guess(name, names)}known: {', '.join(names)}"


def guess(name: str, known: Iterable[str]) -> str:
    """`did you mean 'convnet'? `, ready to be followed by more; empty when nothing known is close."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, close))}? " if close else ""
