"""Whichever user a run has, there is a writable place for what it and its libraries write."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainserve.models import workplace

NOBODY = 65532
SCRIPT = """
import json, os, tempfile
names = ("HOME", "TMPDIR", "TORCH_HOME", "MPLCONFIGDIR", "XDG_CACHE_HOME")
for place in (".", tempfile.gettempdir(), *(os.environ[name] for name in names)):
    open(os.path.join(place, "written"), "w").close()
print(json.dumps({"cwd": os.getcwd(), "uid": os.getuid(), **{name: os.environ[name] for name in names}}))
"""


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment with a writable home and working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    yield {"HOME": str(tmp_path / "home")}
    os.chdir(tmp_path)


def test_where_all_can_be_written_nothing_is_changed(anywhere: dict[str, str], tmp_path: Path) -> None:
    before = dict(anywhere)
    workplace.settle(anywhere)
    assert (anywhere, Path.cwd()) == (before, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_run_works_in_the_folder_it_was_given(anywhere: dict[str, str], tmp_path: Path) -> None:
    work = tmp_path / "work"
    workplace.settle(anywhere, work)
    assert Path.cwd() == work
    assert anywhere["HOME"] == str(tmp_path / "home"), "which can be written to, and may hold weights of the image"
    assert anywhere["TORCH_HOME"] == str(tmp_path / "home/.cache/torch")
    assert anywhere["TMPDIR"] == str(work / "tmp")
    assert all(Path(place).is_dir() for place in anywhere.values())


def test_what_an_image_set_stays_where_it_can_be_used(anywhere: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    anywhere |= {"XDG_CACHE_HOME": str(tmp_path / "cache"), "TORCH_HOME": str(tmp_path / "weights")}
    before = dict(anywhere)
    workplace.settle(anywhere, tmp_path / "work")
    assert {name: anywhere[name] for name in before} == before


@pytest.fixture
def own() -> Iterator[Path]:
    """A folder owned by a user without an account here, in a place that other users can reach."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "own").mkdir()
        os.chown(Path(folder) / "own", NOBODY, NOBODY)
        yield Path(folder) / "own"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(("given", "below"), [("TRAINSERVE_WORK", ""), ("TRAINSERVE_OUTPUT", "work")])
def test_a_user_without_a_home_has_every_place_below_the_folder_it_was_given(given: str, below: str, own: Path) -> None:
    program = (
        "import json, os, sys, tempfile; from pathlib import Path; from trainserve.models import workplace;"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY});"
        "work = os.environ.get('TRAINSERVE_WORK'); workplace.settle(os.environ, Path(work) if work else None);"
        "exec(sys.argv[1])"
    )
    # As in a container with a read-only root: home, working folder and /tmp are not writable.
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TMPDIR": "/proc/none", given: str(own)}
    ended = subprocess.run(
        [sys.executable, "-c", program, SCRIPT], cwd="/", env=environment, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    said, work = json.loads(ended.stdout), own / below
    assert (said.pop("uid"), said.pop("cwd")) == (NOBODY, str(work))
    assert all(Path(place).is_relative_to(work) for place in said.values()), said
