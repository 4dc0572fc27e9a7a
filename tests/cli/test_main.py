from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Trainserve


@pytest.mark.parametrize("command", [[], ["predict"], ["models"], ["models", "ls"], ["models", "show"]])
def test_help_shows_usage_and_an_example(trainserve: Trainserve, command: list[str]) -> None:
    finished = trainserve(*command, "--help")
    assert (finished.status, finished.err) == (0, "")
    assert finished.out.startswith("Usage: trainserve")
    assert "Example: trainserve" in finished.out or command in ([], ["models"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict"], "Missing argument 'FILE...'"),
        (["predict", "a.png"], "give either --serve NAME or --url ADDRESS"),
        (["predict", "a.png", "--url", "x:1", "--serve", "y"], "give either --serve NAME or --url ADDRESS"),
        (["predict", "a.png", "--url", "ftp://x"], "'ftp://x' is not host:port"),
        (["predict", "a.png", "--url", "http://x:port"], "'http://x:port' is not host:port"),
        (["predict", "a.png", "--url", "http://[::1:80"], "'http://[::1:80' is not host:port"),
        (["predict", "a.png", "--serve", "Bad"], "--serve: 'Bad' is not a name"),
        (["predict", "a.png", "--serve", "x", "-n", "Bad NS"], "--namespace: 'Bad NS' is not a name"),
        (["models", "ls", "--store", "/nonexistent"], "'/nonexistent' is neither a folder nor an fsspec URL"),
        (["models", "ls", "--store", "pvc://claim"], "pvc://claim: a claim is read where it is mounted"),
        (["models", "ls", "--store", "foo://bar"], "cannot open foo://bar"),
        (["models", "show", "../x", "--store", "."], "model: '../x' is not allowed"),
        (
            ["predict", "a.png", "--url", "grpc://x:1", "--protocol", "http"],
            "'grpc://x:1' is a grpc address; must be http",
        ),
        (["predict", "a.png", "--url", "x:1", "-n", "team"], "--namespace requires --serve"),
        (["predict", "a.png", "--colour"], "No such option"),
        (["models", "show"], "Missing argument 'NAME[/VERSION]'"),
        (["models", "show", "digits", "--version", "0"], "0 is not in the range x>=1"),
        (["train"], "No such command 'train'"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_2(trainserve: Trainserve, arguments: list[str], words: str) -> None:
    finished = trainserve(*arguments)
    assert (finished.status, finished.out) == (2, "")
    (line,) = finished.err.splitlines()
    assert line.startswith("trainserve: ")
    assert words in line


def test_no_command_shows_the_commands(trainserve: Trainserve) -> None:
    finished = trainserve()
    assert finished.status == 2
    assert "predict" in finished.err


def test_the_installed_command_passes_the_arguments_of_dev_on() -> None:
    program = Path(sys.executable).parent / "trainserve"
    finished = subprocess.run([str(program), "dev", "--help"], capture_output=True, text=True, check=False)
    assert finished.returncode == 0
    assert "status" in finished.stdout
