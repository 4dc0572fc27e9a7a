from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Trainserve
from tests.serving.simulated import REFERENCES, Behaviour, Simulated, named, run
from trainserve.serving.repository.settings import Settings
from trainserve.serving.sources.servable import Servable
from trainserve.serving.tune import saved, tuner
from trainserve.serving.tune.result import Result, wire
from trainserve.serving.tune.search import search
from trainserve.serving.tune.trial import Objective


def kept(version: Path, cache: Path, objective: Objective) -> None:
    """Save the result of tuning a simulated server as the version's result."""
    found = {each.name: Behaviour(1000, 1.0) for each in (*named(4), *REFERENCES)}
    seen = run(search(named(4), REFERENCES, objective, 240), Simulated(found))
    subject = tuner.subject(Servable.of_version(version))
    result = Result(subject, objective, (*named(4), *REFERENCES), tuple(seen), 240)
    saved.keep(result, saved.path(cache, subject, objective, [4.0, wire(Settings())]))


def test_what_was_measured_is_shown_again_with_its_choice(trainserve: Trainserve, root: Path, tmp_path: Path) -> None:
    kept(root / "default/digits/1", tmp_path / "cache", Objective(40.0))
    asked = ("tune", root / "default/digits/1", "--p99", "40ms", "--cache", "cache")
    done = trainserve(*asked, "--plot", "table.svg")
    assert done.status == 0, done.err
    assert "chosen: {" in done.out and "naive" in done.out and "cached result" in done.err
    assert "objective 40 ms" in (tmp_path / "table.svg").read_text()
    told = json.loads(trainserve(*asked, "-o", "json").out)
    assert {row["name"] for row in told["table"]} == {*(each.name for each in named(4)), "defaults", "naive"}
    settings = trainserve(*asked, "-o", "settings").out
    assert json.loads(settings) == told["settings"]
    (tmp_path / "settings.yaml").write_text(settings)
    assert Settings.of_file(tmp_path / "settings.yaml").dynamic_batching.max_batch == 64


def test_an_objective_that_nothing_holds_is_exit_1_with_what_would_be_needed(
    trainserve: Trainserve, root: Path, tmp_path: Path
) -> None:
    kept(root / "default/digits/1", tmp_path / "cache", Objective(1.0))
    done = trainserve("tune", root / "default/digits/1", "--p99", "1ms", "--cache", "cache")
    assert done.status == 1
    assert "nothing holds p99 1 ms" in done.out and "is feasible" in done.out
    done = trainserve("tune", root / "default/digits/1", "--p99", "1ms", "--cache", "cache", "-o", "settings")
    assert (done.status, done.out) == (1, "") and "is feasible" in done.err


def test_a_rate_that_needs_more_replicas_is_told_so(trainserve: Trainserve, root: Path, tmp_path: Path) -> None:
    kept(root / "default/digits/1", tmp_path / "cache", Objective(40.0, rate=5000.0))
    done = trainserve("tune", root / "default/digits/1", "--p99", "40ms", "--rate", "5000/s", "--cache", "cache")
    assert done.status == 0 and "5000/s needs" in done.out and "replicas" in done.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["/nowhere/1", "--p99", "20ms"], "/nowhere/1"),
        (["/nowhere/1", "--p99", "20"], "'20' is not a duration such as 500us"),
        (["/nowhere/1", "--p99", "0ms"], "must be greater than 0"),
        (["/nowhere/1"], "--p99"),
        (["/nowhere/1", "--p99", "20ms", "--rate", "5", "--concurrency", "3"], "either --concurrency or --rate"),
        (["/nowhere/1", "--p99", "20ms", "--plot", "a.gif"], "a plot is written as .svg or .png"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_in_one_line(
    trainserve: Trainserve, arguments: list[str], words: str
) -> None:
    done = trainserve("tune", *arguments)
    assert (done.status, done.out) == (2, "")
    assert words in done.err and done.err.count("\n") == 1
