"""Progress of a long step in a log and on a terminal."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from trainserve.dev.progress import SILENT, ConsoleProgress


def test_a_log_has_one_line_for_every_change_and_one_for_the_end() -> None:
    out = io.StringIO()
    with ConsoleProgress(Console(file=out, width=40)).task("build") as task:
        task.update("step 1/6: installing a toolchain whose name is longer than the line")
        task.update("step 1/6: installing a toolchain whose name is longer than the line", 5, 10)
        task.update("step 2/6: fetching [source]")
    lines = out.getvalue().splitlines()
    assert lines[:2] == [
        "build: step 1/6: installing a toolchain whose name is longer than the line",
        "build: step 2/6: fetching [source]",
    ]
    assert re.fullmatch(r"build: ready in \d+\.\d s", lines[2])


def test_a_step_that_fails_is_not_called_ready() -> None:
    out = io.StringIO()
    with pytest.raises(OSError, match="full"), ConsoleProgress(Console(file=out)).task("build"):
        raise OSError("disk full")
    assert "ready" not in out.getvalue()


def test_a_terminal_shows_what_is_waited_for_while_it_lasts() -> None:
    out = io.StringIO()
    with ConsoleProgress(Console(file=out, force_terminal=True, width=120)).task("build") as task:
        task.update("step 5/6: compiling", 500, 1000)
    assert "build step 5/6: compiling" in out.getvalue()
    assert "build: ready in" in out.getvalue()


def test_silence_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with SILENT.task("build") as task:
        task.update("step 1/6")
    SILENT.note("done")
    assert capsys.readouterr() == ("", "")
