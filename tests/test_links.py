"""Pages of the repository's root and of docs/: the files, tests and programs that they name exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]
FENCED = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
TARGET = re.compile(r"\]\(<?([^)\s>]+)[^)]*\)|(?:src|srcset|href)=\"([^\"\s]+)")
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//")
TEST = re.compile(r"`(?:tests/)?((?:\w+/)*test_\w+\.py)`")
PROGRAM = re.compile(r"python -m ((?:bench|tests|trainserve)\.[\w.]*\w)")


def targets(page: Path) -> list[str]:
    """Return the targets of the page's links and pictures that are in this repository."""
    found = ["".join(groups) for groups in TARGET.findall(FENCED.sub("", page.read_text()))]
    return [target for target in found if not ELSEWHERE.match(target)]


def anchors(page: Path) -> set[str]:
    """Return the anchors of the page's headings, as GitHub generates them, and its explicit ones."""
    text = FENCED.sub("", page.read_text())
    names = [re.sub(r"[^\w\- ]", "", title).strip().lower() for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]
    return {name.replace(" ", "-") for name in names} | set(re.findall(r"<a (?:id|name)=\"([^\"]+)", text))


def broken(page: Path, target: str) -> bool:
    name, _, anchor = target.partition("#")
    file = (page.parent / name).resolve() if name else page
    return not file.exists() or (anchor != "" and file.suffix == ".md" and anchor not in anchors(file))


def missing(page: Path) -> list[str]:
    """Return the test files and the programs that the page names and that do not exist."""
    text = page.read_text()
    tests = [name for name in TEST.findall(text) if not (ROOT / "tests" / name).is_file()]
    return tests + [name for name in PROGRAM.findall(text) if importlib.util.find_spec(name) is None]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_local_link_and_picture_leads_somewhere(page: Path) -> None:
    assert [target for target in targets(page) if broken(page, target)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_and_program_that_is_named_is_there(page: Path) -> None:
    assert missing(page) == []


def test_a_test_or_program_that_is_not_there_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "`tests/store/test_arrays.py` `store/test_arrays.py` `python -m bench.serving a`\n"
        "`tests/store/test_gone.py` `python -m bench.gone`.\n"
    )
    assert missing(page) == ["store/test_gone.py", "bench.gone"]


def test_links_are_found_and_a_missing_file_or_heading_is_told(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Triton's `queue`\n[a](#tritons-queue) ![b](missing.png) [c](page.md#nowhere) [d](https://example.org)\n"
        '```sh\n[e](code.md)\n```\n<img src="gone.png">\n'
    )
    assert targets(page) == ["#tritons-queue", "missing.png", "page.md#nowhere", "gone.png"]
    assert [target for target in targets(page) if broken(page, target)] == [
        "missing.png", "page.md#nowhere", "gone.png",
    ]  # fmt: skip
