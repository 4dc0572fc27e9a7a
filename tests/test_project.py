"""What a newcomer meets first: make's targets, the hooks, the changelog's fragments, and lines that fit an editor."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WIDTH = 120
README = 130


def recipe(target: str) -> str:
    """Return a target's commands from the Makefile."""
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found, f"the Makefile has no target {target}"
    return found[1]


def pages(root: Path) -> list[Path]:
    """Return every Markdown file below `root`, sorted, without hidden folders and without npm's packages."""
    found = []
    for folder, below, files in os.walk(root):
        below[:] = [name for name in below if not name.startswith(".") and name != "node_modules"]
        found += [Path(folder, name) for name in files if name.endswith(".md")]
    return sorted(found)


def too_wide(page: Path) -> list[str]:
    """Return the lines of more than `WIDTH` characters. Tables and code count as well."""
    return [line for line in page.read_text().splitlines() if len(line) > WIDTH]


def test_make_help_has_a_sentence_for_every_target() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    printed = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    sentences = dict(line.split(maxsplit=1) for line in printed.splitlines())
    assert sentences.keys() == targets
    assert min(map(len, sentences.values())) > 10


def test_a_commit_is_held_to_what_make_check_runs() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    programs = {hook["entry"] for hook in repository["hooks"]}
    commands = recipe("check")
    assert programs == {".venv/bin/ruff format --check", ".venv/bin/ruff check", ".venv/bin/codespell"}
    assert [program for program in programs if f"\t{program}" not in commands] == []


def test_continuous_integration_runs_the_checks_and_all_tests() -> None:
    assert (ROOT / ".ci/run").read_text().endswith("\nmake check\nmake test\n")


def test_every_fragment_is_in_the_next_releases_changelog() -> None:
    draft = subprocess.run(
        [sys.executable, "-m", "towncrier", "build", "--draft"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    said = " ".join(draft.split())
    fragments = [path for path in (ROOT / "changelog.d").iterdir() if path.name != ".gitignore"]
    assert fragments
    assert [path.name for path in fragments if " ".join(path.read_text().split()) not in said] == []
    assert [line for line in draft.splitlines() if len(line) > WIDTH] == []


@pytest.mark.parametrize("target", ["test T={}", "unit PYTEST_ARGS={}"])
def test_make_runs_the_tests_of_one_file(target: str) -> None:
    file = "tests/store/test_manifest.py"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    command = ["make", "--no-print-directory", *target.format(file).split()]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^[=.\s]*\d+ passed", done.stdout.splitlines()[-1]), done.stdout


def test_what_is_listed_as_slow_is_there() -> None:
    tests = ROOT / "tests"
    files = [path for path in tests.rglob("*") if path.suffix == ".py"]
    named = {path.stem for path in files} | {parent.name for path in files for parent in path.parents}
    named |= {
        name for path in files for name in re.findall(r"^ *(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    listed = [line for line in (tests / "slow.txt").read_text().splitlines() if not line.startswith("#")]
    assert [name for name in listed if name not in named] == []
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("page", pages(ROOT), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_fits_an_editor(page: Path) -> None:
    assert too_wide(page) == []


def test_a_line_that_is_too_wide_is_seen_in_prose_tables_and_code(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    wide = ["a" * 121, f"| {'b' * 121} |", "c" * 121, f"`{'d' * 120}`"]
    page.write_text(f"{wide[0]}\n{'é' * 120}\n{wide[1]}\n```\n{wide[2]}\n```\n{wide[3]}\n")
    assert too_wide(page) == wide


def test_every_page_is_found_but_those_of_others(tmp_path: Path) -> None:
    for name in ("page.md", "examples/x/README.md", ".venv/lib/a.md", "dev/node_modules/b/c.md", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [str(page.relative_to(tmp_path)) for page in pages(tmp_path)] == ["examples/x/README.md", "page.md"]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README
