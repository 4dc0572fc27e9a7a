"""The served model of tests/serving, queried through the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.serving.conftest import command, fetched, published, root, server, start
from trainserve.cli.main import main

__all__ = ["command", "fetched", "published", "root", "server", "start"]


@dataclass(frozen=True)
class Finished:
    """Exit status and output of a command."""

    status: int
    out: str
    err: str


Trainserve = Callable[..., Finished]
"""The fixture below: takes the command's arguments in order, and environment variables by name."""


@pytest.fixture
def trainserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Trainserve:
    """A function that runs `trainserve` in this process, in an empty folder, and returns its output and exit status."""

    def run(*arguments: object, **environment: str) -> Finished:
        monkeypatch.chdir(tmp_path)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["trainserve", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Finished(int(ended.value.code or 0), *capfd.readouterr())

    return run
