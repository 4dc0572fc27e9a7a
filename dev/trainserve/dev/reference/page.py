"""docs/reference.md: every field of TrainJob and ModelServe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from trainserve.api.modelserve import ModelServeSpec
from trainserve.api.modelserve_status import ModelServeStatus
from trainserve.api.support import MODELSERVE_LIMITS, TRAINJOB_LIMITS, Limit
from trainserve.api.trainjob import TrainJobSpec
from trainserve.api.trainjob_status import TrainJobStatus
from trainserve.dev.reference.fields import Field, Section, sections
from trainserve.dev.reference.markdown import WIDTH, code, item, prose, wrapped

PATH = Path(__file__).parents[4] / "docs" / "reference.md"
BOTH = "Both kinds"
LIMITS = {"TrainJob": TRAINJOB_LIMITS, "ModelServe": MODELSERVE_LIMITS}
_HEAD = """\
<!-- Made by `make docs` (trainserve.dev.reference) of the types in operator/trainserve/api; do not edit. -->
# API reference

Every field of a TrainJob and of a ModelServe, both `apiVersion: trainserve.io/v1alpha1`: its path, type, unit, bounds
and default, what it means, and an example. `kubectl explain trainjob.spec.trainer` prints the same descriptions. `[]`
in a path stands for each item of a list. A status is written by the operator only; it holds what is known so far.

A *duration* is a number and one unit, such as `500us`, `20ms`, `1.5s`, `10m` or `2h`. A *quantity* is written as in a
Pod: `500m` or `2` cores, `4Gi` of memory.
"""


def page() -> str:
    """Return the whole of docs/reference.md."""
    kinds = {
        "TrainJob": [*sections(TrainJobSpec, "spec"), *sections(TrainJobStatus, "status", "serialization")],
        "ModelServe": [*sections(ModelServeSpec, "spec"), *sections(ModelServeStatus, "status", "serialization")],
    }
    shared = [section for section in kinds["TrainJob"] if section in kinds["ModelServe"]]
    lines = _HEAD.splitlines()
    for kind, found in kinds.items():
        lines += ["", f"## {kind}", "", *_contents(kind, found, shared)]
        for section in found:
            if section not in shared:
                lines += ["", f"### {heading(kind, section)}", "", *body(section, LIMITS[kind])]
    lines += ["", f"## {BOTH}", "", "These objects are the same in a TrainJob and a ModelServe."]
    for section in shared:
        lines += ["", f"### {heading(BOTH, section)}", "", *body(section, LIMITS["TrainJob"])]
    return "\n".join(lines) + "\n"


def heading(chapter: str, section: Section) -> str:
    """Return the title of a section, which is unique on the page."""
    return section.path if chapter == BOTH else f"{chapter} {section.path}"


def body(section: Section, limits: Iterable[Limit]) -> Iterator[str]:
    """Yield the lines of a section: the object's description, each of its fields, the rules between them."""
    unsupported = {f"spec.{limit.field}": limit.supported for limit in limits if limit.where is None}
    if section.facts:
        yield from wrapped(f"*{', '.join(section.facts)}*")
        yield ""
    if section.text:
        yield from wrapped(prose(section.text) + _limit(unsupported.get(section.path)))
        yield ""
    lines = [line for field in section.fields for line in entry(field, unsupported.get(field.path))]
    lines += [line for rule in section.rules for line in item(f"Rule: {prose(rule)}.")]
    yield from lines or ["It has no fields but the objects below."]


def entry(field: Field, supported: str | None = None) -> list[str]:
    """Return the lines of a field; `supported` names the values that have an effect (None: all).

    Raises ValueError if its metadata has no description or no example.
    """
    if not field.meaning or field.example is None:
        raise ValueError(f"{field.path}: a field needs a description and, unless its type has few values, an example")
    head, meaning = f"**{code(field.path)}**: {', '.join(field.facts)}", prose(field.meaning) + _limit(supported)
    line = in_one_line({field.name.removesuffix("[]"): field.example})
    if len(line) <= WIDTH - 20 and "\\n" not in line:
        return item(head, meaning, verbatim=f"Example: {code(line)}")
    block = yaml.dump({field.name: field.example}, Dumper=_Dumper, sort_keys=False, width=WIDTH - 10)
    return [*item(head, meaning), "", *(f"  {line}".rstrip() for line in ("```yaml", *block.splitlines(), "```")), ""]


def _limit(supported: str | None) -> str:
    return "" if supported is None else f" Not fully supported yet; supported now: {supported}."


def in_one_line(value: dict[str, object]) -> str:
    """Return a mapping of one entry as a line of YAML."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False).strip()[1:-1]


class _Dumper(yaml.SafeDumper):
    """A dumper that writes a multi-line text as a block."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def _contents(kind: str, found: Iterable[Section], shared: list[Section]) -> list[str]:
    links = (f"[{section.path}](#{anchor(heading(BOTH if section in shared else kind, section))})" for section in found)
    return [f"- {link}" for link in links]


def anchor(title: str) -> str:
    """Return the fragment under which GitHub shows a heading."""
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c in "-_")
