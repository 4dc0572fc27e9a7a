"""docs/reference.md and the tables of docs/contracts.md match the code, and their examples are accepted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from click.testing import CliRunner
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from trainserve.api.modelserve import ModelServeSpec
from trainserve.api.modelserve_status import ModelServeStatus
from trainserve.api.trainjob import TrainJobSpec
from trainserve.api.trainjob_status import TrainJobStatus
from trainserve.dev.reference import contracts, fields, page
from trainserve.dev.reference.__main__ import main
from trainserve.dev.reference.markdown import WIDTH, item, prose, table

PAGE = page.PATH.read_text()
CONTRACTS = contracts.PATH.read_text()
ROOTS = (TrainJobSpec, TrainJobStatus, ModelServeSpec, ModelServeStatus)


def types(root: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """Return the types of a whole object by their names."""
    found: dict[str, type[BaseModel]] = {}

    def look(annotation: object) -> None:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation.__name__ not in found:
            found[annotation.__name__] = annotation
            for info in annotation.model_fields.values():
                look(info.annotation)
            for computed in annotation.model_computed_fields.values():
                look(computed.return_type)
        for inner in getattr(annotation, "__args__", ()):
            look(inner)

    look(root)
    return found


def described() -> Iterator[tuple[str, FieldInfo, object]]:
    """Yield each field of the API with its example: its class and name, its definition, the example."""
    for root in ROOTS:
        known = types(root)
        mode: fields.Mode = "serialization" if root.__name__.endswith("Status") else "validation"
        for section in fields.sections(root, "", mode):
            kind = known[section.type]
            by_wire_name = {info.alias or name: info for name, info in kind.model_fields.items()}
            for field in section.fields:
                yield f"{kind.__name__}.{field.name}", by_wire_name[field.name], field.example


FIELDS = {name: (info, example) for name, info, example in described()}


@pytest.mark.parametrize("name", FIELDS)
def test_every_example_is_accepted_by_its_field(name: str) -> None:
    info, example = FIELDS[name]
    strict = ConfigDict(strict=True, allow_inf_nan=False)
    accepted: TypeAdapter[Any] = TypeAdapter(_annotated(info), config=strict)
    assert example is not None
    accepted.validate_python(example)
    for other in info.examples or ():
        accepted.validate_python(other)


def _annotated(info: FieldInfo) -> Any:
    return Annotated[info.annotation, *(info.metadata or [None])]


def test_an_example_beyond_a_bound_would_be_found() -> None:
    class Kind(BaseModel):
        count: int = Field(ge=1, examples=[0])

    with pytest.raises(ValidationError):
        TypeAdapter(_annotated(Kind.model_fields["count"])).validate_python(0)


def test_a_field_without_a_description_or_an_example_is_refused() -> None:
    for field in (fields.Field("spec.x", (), "", 1), fields.Field("spec.x", (), "Meaning.", None)):
        with pytest.raises(ValueError, match=r"spec\.x: a field needs a description"):
            page.entry(field)


def test_the_reference_is_what_the_types_say() -> None:
    assert page.page() == PAGE, "run `make docs`"


def test_the_tables_of_the_contracts_are_what_the_code_says() -> None:
    assert contracts.filled(CONTRACTS) == CONTRACTS, "run `make docs`"


@pytest.mark.parametrize("name", contracts.TABLES)
def test_each_table_stands_in_the_contracts(name: str) -> None:
    assert CONTRACTS.count(f"<!-- generated: {name} -->\n") == 1


def test_no_line_is_longer_than_a_terminal_is_wide() -> None:
    assert [line for text in (PAGE, CONTRACTS) for line in text.splitlines() if len(line) > WIDTH] == []


def test_the_check_finds_a_page_that_was_changed_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert CliRunner().invoke(main, ["--check"]).exit_code == 0
    changed = tmp_path / "reference.md"
    changed.write_text(PAGE.replace("epochs", "rounds"))
    monkeypatch.setattr(page, "PATH", changed)
    result = CliRunner().invoke(main, ["--check"])
    assert (result.exit_code, "is not what the code makes; run `make docs`" in result.output) == (1, True)


def test_a_field_has_its_path_type_unit_bounds_default_meaning_and_example() -> None:
    assert (
        "- **`spec.trainer.epochs`**: integer, epochs, 1 to 100000, default `5`\\\n"
        "  Passes over the training samples.\\\n"
        "  Example: `epochs: 30`\n"
    ) in PAGE


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("A path, <root>/<name>, or (TRAINSERVE_*).", "A path, `<root>/<name>`, or (`TRAINSERVE_*`)."),
        ("`a_b` stays;  so does plain.", "`a_b` stays; so does plain."),
    ],
)
def test_what_markdown_would_take_as_markup_stands_in_code_spans(text: str, shown: str) -> None:
    assert prose(text) == shown


def test_lines_of_an_item_that_break_end_with_a_backslash() -> None:
    assert item("a", "b", verbatim="c") == ["- a\\", "  b\\", "  c"]


def test_a_row_that_is_too_wide_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 120 are allowed"):
        table(["a"], [["x" * 120]])


def test_a_field_that_is_not_acted_on_yet_says_what_is_supported() -> None:
    lines = page.entry(fields.Field("spec.rollout.strategy", ("string",), "Meaning.", "BlueGreen"), "BlueGreen")
    assert lines[1] == "  Meaning. Not fully supported yet; supported now: BlueGreen.\\"
    (autoscaling,) = re.findall(r"### ModelServe spec\.autoscaling\n.*?\n- ", PAGE, re.DOTALL)
    assert "supported now: a fixed number of replicas (leave it unset)." in " ".join(autoscaling.split())
