"""The tables of docs/contracts.md: the text between `<!-- generated: NAME -->` and `<!-- end -->`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import get_args

import click
from pydantic import BaseModel

from trainserve.api import messages
from trainserve.api.pod import Endpoint, ExitCode, PodPath, Port, SharedFile, Variable
from trainserve.api.reasons import By, Reason
from trainserve.dev.reference.fields import Field, sections
from trainserve.dev.reference.markdown import code, item, prose, table, wrapped

PATH = Path(__file__).parents[4] / "docs" / "contracts.md"
_PLACE = re.compile(r"(<!-- generated: ([a-z -]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_REFERENCE = {
    "Progress": "trainjob-statusprogress",
    "Result": "trainjob-statusresult",
    "Artifact": "trainjob-statusartifact",
}
"""Anchors in reference.md of objects that messages and a status have in common."""


def filled(text: str) -> str:
    """Return the page with its tables generated from the code. Raises KeyError for an unknown table."""

    def place(found: re.Match[str]) -> str:
        table_ = "\n".join(TABLES[found[2]]()).strip()
        return f"{found[1]}\n{table_}\n\n{found[3]}"

    return _PLACE.sub(place, text)


def configuration() -> Iterator[str]:
    """Yield the fields of a training pod's configuration that are missing from or differ in a TrainJob's spec."""
    from trainserve.models import config  # here, because the other tables need only the API

    same = []
    for section in sections(config.Config, ""):
        kind = getattr(config, section.type, None)
        if kind is None or kind.__module__.startswith("trainserve.api"):
            same.append(section.path.removeprefix("."))
            continue
        own = {info.alias for name, info in kind.model_fields.items() if name in kind.__annotations__}
        yield from _items(field for field in section.fields if field.name in own and field.meaning)
    as_in_job = ", ".join(code(path) for path in same if "." not in path)
    yield from item(f"{as_in_job}: as in a [TrainJob](reference.md#trainjob)")


def message_fields() -> Iterator[str]:
    """Yield each termination message, and the probe's report, with their fields."""
    kinds: tuple[type[BaseModel], ...] = (*get_args(get_args(messages.Outcome)[0]), messages.Report)
    for kind in kinds:
        yield from wrapped(f"{code(kind.__name__)}: {prose(kind.__doc__ or '')}")
        yield ""
        whole, *parts = sections(kind, "")
        yield from _items(field for field in whole.fields if field.name not in ("outcome", "formatVersion"))
        for part in parts:
            path = part.path.removeprefix(".")
            if part.type in _REFERENCE:
                yield from item(f"{code(path)}: as [{part.type}](reference.md#{_REFERENCE[part.type]})")
            elif not any(path.startswith(f"{above}.") for above in ("progress", "result", "artifact")):
                yield from _items(part.fields)
        yield ""


def reasons() -> list[str]:
    """Return the lines of the table of reasons."""
    names = {by: str(by.name).lower() for by in By}
    return table(
        ("reason", "said by", "retry", "exit", "meaning"),
        (
            (
                code(reason),
                ", ".join(names[by] for by in reason.by),
                reason.retry,
                "" if reason.exit_code is None else str(int(reason.exit_code)),
                reason.sentence,
            )
            for reason in Reason
        ),
    )


def options(command: str) -> Iterator[str]:
    """Yield the options of a command of `python -m trainserve.serving`."""
    from trainserve.serving.__main__ import main

    context = click.Context(main.commands[command])
    for option in context.command.params:
        if isinstance(option, click.Option):
            value = "" if option.is_flag else f" {option.make_metavar(context)}"
            facts = [code(option.opts[0] + value)]
            facts += ["required"] if option.required else []
            facts += [f"default {code(option.default)}"] if option.show_default else []
            facts += [f"variable {code(option.envvar)}"] if option.envvar else []
            yield from item(f"{', '.join(facts)}: {prose(option.help or '')}")


def members(kind: type[Enum]) -> Iterator[str]:
    """Yield the members of an enumeration, each with its sentence."""
    for member in kind:
        yield from item(f"{code(member.value)}: {prose(member.sentence)}")  # type: ignore[attr-defined]


def _items(fields: Iterable[Field]) -> Iterator[str]:
    for field in fields:
        text = f": {prose(field.meaning)}" if field.meaning else ""
        yield from item(f"{code(field.path.removeprefix('.'))}, {', '.join(field.facts)}{text}")


TABLES: Mapping[str, Callable[[], Iterable[str]]] = {
    "training configuration": configuration,
    "messages": message_fields,
    "reasons": reasons,
    "fetch options": lambda: options("fetch"),
    "resolve options": lambda: options("resolve"),
    "probe options": lambda: options("probe"),
    "tune options": lambda: options("tune"),
    "exit codes": lambda: members(ExitCode),
    "ports": lambda: members(Port),
    "endpoints": lambda: members(Endpoint),
    "paths": lambda: members(PodPath),
    "shared files": lambda: members(SharedFile),
    "variables": lambda: members(Variable),
}
"""Generators of the tables, by the name in the marker."""
