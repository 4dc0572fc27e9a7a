"""The drawing in docs/architecture.md equals the folder tree."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
PORTIONS = ("operator", "models", "serving", "cli", "dev")


def drawn(page: str) -> list[str]:
    """Return the drawing's folders as paths, in its order."""
    (drawing,) = re.findall(r"^```\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    found: list[str] = []
    above: list[str] = []
    for line in drawing.splitlines():
        indent, name = re.match(r"( *)([\w./-]+)/( |$)", line).group(1, 2)
        above = [*above[: len(indent) // 2], name]
        found.append("/".join(above))
    return found


def folders(root: Path) -> list[str]:
    """Return each folder below a portion's `trainserve/` that holds more than compiled Python, sorted, parents
    first."""
    found = []
    for portion in PORTIONS:
        top = root / portion / "trainserve"
        holding = {path.parent for path in top.rglob("*") if path.is_file() and path.suffix != ".pyc"}
        below = {each for folder in holding for each in (folder, *folder.parents) if each.is_relative_to(top)}
        found += [str(each.relative_to(root)) for each in sorted(below)]
    return found


def test_the_drawing_is_the_folder_tree() -> None:
    assert drawn(PAGE.read_text()) == folders(ROOT)


def test_every_package_that_is_drawn_has_a_sentence() -> None:
    bare = [line.split()[0] for line in PAGE.read_text().splitlines() if re.fullmatch(r" +[\w-]+/", line)]
    assert bare == ["backend/"], "it holds one folder and nothing else"


def test_a_folder_that_is_not_drawn_is_seen(tmp_path: Path) -> None:
    for portion in PORTIONS:
        for name in ("part/x.py", "__pycache__/x.pyc"):
            file = tmp_path / portion / "trainserve" / name
            file.parent.mkdir(parents=True)
            file.touch()
    page = "```\n" + "".join(f"{portion}/trainserve/\n  part/   words\n" for portion in PORTIONS) + "```\n"
    assert drawn(page) == folders(tmp_path)
    new = tmp_path / "cli/trainserve/part/deeper/x.cc"
    new.parent.mkdir()
    new.touch()
    assert [each for each in folders(tmp_path) if each not in drawn(page)] == ["cli/trainserve/part/deeper"]
