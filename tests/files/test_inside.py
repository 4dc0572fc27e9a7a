"""No name leads out of its folder, whatever it contains."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

from trainserve.files import EscapingName, inside

PARTS = st.sampled_from(["..", ".", "", "a", "b.onnx", "link", "\\", "\0", "~", "C:", "a" * 300])


@hypothesis.given(st.lists(PARTS, max_size=6).map("/".join) | st.text(st.characters(exclude_categories=["Cs"])))
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_a_name_is_refused_or_leads_inside(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(exist_ok=True)
    if not (folder / "link").is_symlink():
        (folder / "link").symlink_to("/etc")
    try:
        path = inside(folder, name)
    except EscapingName:
        return
    assert path.resolve().is_relative_to(folder.resolve())
    assert path.resolve() != folder.resolve()


@pytest.mark.parametrize("name", ["a", "a/b", "a b", "ä.bin", "...", "a..b", ".hidden"])
def test_a_plain_name_is_taken(tmp_path: Path, name: str) -> None:
    assert inside(tmp_path, name) == tmp_path / name
