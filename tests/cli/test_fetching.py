"""Progress output while a model is fetched."""

from __future__ import annotations

import io

from rich.console import Console

from trainserve.cli.fetching import fetching


def test_a_terminal_shows_a_bar_for_each_file() -> None:
    screen = io.StringIO()
    with fetching(Console(file=screen, force_terminal=True, width=100)) as told:
        told("model.onnx", 1_000_000, 4_000_000)
        told("model.onnx", 4_000_000, 4_000_000)
        told("samples.npz", 10, None)
    assert "fetching model.onnx" in screen.getvalue()
    assert "4.0/4.0 MB" in screen.getvalue()
    assert "fetching samples.npz" in screen.getvalue()


def test_of_what_is_already_here_a_terminal_shows_nothing() -> None:
    screen = io.StringIO()
    with fetching(Console(file=screen, force_terminal=True)):
        pass
    assert screen.getvalue() == ""


def test_a_log_is_spared_the_bars() -> None:
    screen = io.StringIO()
    with fetching(Console(file=screen)) as told:
        told("model.onnx", 1, 2)
    assert screen.getvalue() == ""
