"""The command in an installation without extras: its help works, and it names the extra that a command needs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.environments import closure, environment
from trainserve.cli.main import COMMANDS

PROGRAM = "from trainserve.cli.main import main; main()"
ALONE = ("models", "config", "sign")
"""Commands whose help needs no extra."""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the mandatory dependencies only."""
    assert "numpy" not in closure()
    return environment(tmp_path_factory.mktemp("base"))


def trainserve(python: Path, *arguments: str | Path) -> tuple[int, str, str]:
    command = [str(python), "-c", PROGRAM, *map(str, arguments)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, cwd=python.parent, timeout=120)
    return finished.returncode, finished.stdout, finished.stderr


def test_help_lists_every_command_and_what_an_extra_brings(python: Path) -> None:
    status, said, _ = trainserve(python, "--help")
    listed = dict(line.split(maxsplit=1) for line in said.partition("Commands:\n")[2].splitlines())
    assert (status, set(listed)) == (0, {*COMMANDS, "dev"})
    needing = {name for name, words in listed.items() if words == "Needs an extra: pip install 'trainserve[serve]'."}
    assert needing == set(COMMANDS) - set(ALONE)
    assert listed["models"] == "List and show the models in the store."


@pytest.mark.parametrize("arguments", [("bench", "127.0.0.1:8000"), ("predict", "--help"), ("top", "-A", "--once")])
def test_a_command_that_needs_an_extra_names_it_whatever_it_is_given(python: Path, arguments: tuple[str, ...]) -> None:
    status, _, said = trainserve(python, *arguments)
    assert (status, said.count("\n")) == (1, 1), said
    assert said.startswith(
        f"trainserve: {arguments[0]} needs an extra that is not installed: pip install 'trainserve[serve]' ("
    )


@pytest.mark.parametrize(("command", "extra"), [("config", "serve"), ("dev", "dev")])
def test_so_does_one_that_finds_out_while_it_runs(python: Path, tmp_path: Path, command: str, extra: str) -> None:
    status, _, said = trainserve(python, command, tmp_path)
    assert (status, said.count("\n")) == (1, 1), said
    assert f"{command} needs an extra that is not installed: pip install 'trainserve[{extra}]' (No module" in said


def test_what_needs_no_extra_works(python: Path, tmp_path: Path) -> None:
    assert trainserve(python, "models", "ls", "--store", tmp_path)[0] == 0
    status, _, said = trainserve(python, "models", "ls", "--store", tmp_path / "nonesuch")
    assert (status, "is neither a folder nor an fsspec URL" in said) == (2, True)
    status, _, said = trainserve(python, "models", "ls", "--store", "s3://bucket/models")
    assert (status, said) == (
        2,
        "trainserve: cannot open s3://bucket/models: Install s3fs to access S3; pip install 'trainserve[s3]'\n",
    )
