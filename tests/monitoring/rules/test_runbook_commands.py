"""The commands in the runbooks use options that exist and fields that the API has."""

from __future__ import annotations

import re
import shlex
from typing import Any

import click
import pytest
import yaml

from tests.monitoring.promql import selectors
from tests.monitoring.rules.rulefiles import RUNBOOKS
from trainserve.cli.main import cli
from trainserve.dev.cluster import CHART

PAGE = RUNBOOKS.read_text()
LINES = [
    line for block in re.findall(r"^```sh\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]
QUERIES = re.findall(r"^```promql\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)
CRDS = {"tsj": "trainjobs", "tsm": "modelserves"}
SELECTED = ("trainserve.io/trainjob", "trainserve.io/modelserve")


@pytest.mark.parametrize("line", sorted({line for line in LINES if line.startswith("trainserve ")}))
def test_a_command_of_ours_exists_with_each_of_its_options(line: str) -> None:
    words = shlex.split(line)[1:]
    command: click.Command = cli
    while isinstance(command, click.Group) and words:
        found = command.get_command(click.Context(command), words.pop(0))
        assert found is not None, line
        command = found
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known


@pytest.mark.parametrize("line", sorted({line for line in LINES if "jsonpath=" in line}))
def test_a_jsonpath_asks_for_fields_of_the_api(line: str) -> None:
    kind = CRDS[re.search(r" get (\w+) NAME ", line)[1]]  # type: ignore[index]
    (version,) = yaml.safe_load((CHART / "files" / "crds" / f"{kind}.yaml").read_text())["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    for path in re.findall(r"\{(?:range )?\.((?:spec|status)[\w.]*)", line):
        field(schema, path)
    for items in re.findall(r"\{range \.([\w.]+)\[\*\]\}", line):
        inner = line[line.index("[*]}") + 4 : line.index("{end}")]
        for path in re.findall(r"\{\.(\w+)\}", inner):
            field(field(schema, items)["items"], path)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_parses(query: str) -> None:
    assert selectors(query)


def test_labels_that_select_pods_are_those_that_the_operator_gives() -> None:
    assert {label for line in LINES for label in re.findall(r"-l (trainserve\.io/\w+)=NAME", line)} == set(SELECTED)


def field(schema: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the schema of a field. Raises KeyError if there is none."""
    for name in path.split("."):
        schema = schema["properties"][name]
    return schema
