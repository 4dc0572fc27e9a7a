"""Several processes (gloo, torchrun's environment): the same result, one outcome, and one reason when it fails."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from trainserve.models import distributed, rank
from trainserve.models.errors import DataError, PortTaken, RankLost, UserError
from trainserve.models.rank import Rank

from .small_run import PER_EPOCH, STEPS, free_port, gang, process

PLAIN: dict[str, Any] = {"plain": True, "trainer": {"augment": None, "precision": "fp32"}}
"""Settings under which several processes compute what one does, up to the order of summation."""


def left(folder: Path, number: int = 0) -> dict[str, Any]:
    return dict(json.loads((folder / str(number)).read_text()))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def two(tmp_path: Path, out: Path) -> Callable[..., list[int]]:
    """Return a function that runs two processes of one run and returns their exit codes."""
    return gang(tmp_path / "checkpoints", out, free_port())


def alone(folder: Path, out: Path, code: int = 0, **how: Any) -> dict[str, Any]:
    started = process(folder, out, **how)
    started.join(60)
    assert started.exitcode == code
    return dict(json.loads(out.read_text()))


def test_two_processes_reach_what_one_does_with_the_same_global_batch(
    two: Callable[..., list[int]], out: Path, tmp_path: Path
) -> None:
    one = alone(tmp_path / "one", tmp_path / "one.json", **PLAIN)
    assert two(**PLAIN) == [0, 0]
    assert left(out)["loss"] == pytest.approx(one["loss"], abs=1e-4)
    assert left(out, 1)["loss"] == left(out)["loss"]
    for mine, theirs in zip(*(torch.load(out / f"{number}.pt").values() for number in (0, 1)), strict=True):
        assert torch.equal(mine, theirs)


def test_the_same_gang_gives_the_same_weights(two: Callable[..., list[int]], out: Path, tmp_path: Path) -> None:
    again = gang(tmp_path / "again", tmp_path / "again-out", free_port())
    assert two() == again() == [0, 0]
    assert left(out)["weights"] == left(tmp_path / "again-out")["weights"]


def test_a_checkpoint_of_one_process_goes_on_in_two_and_back(
    two: Callable[..., list[int]], out: Path, tmp_path: Path
) -> None:
    one = alone(tmp_path / "one", tmp_path / "one.json", **PLAIN)
    folder = tmp_path / "checkpoints"
    alone(folder, tmp_path / "first.json", code=143, kill=(signal.SIGTERM, 10), **PLAIN)
    assert two({number: {"kill": (signal.SIGTERM, 10)} for number in (0, 1)}, **PLAIN) == [143, 143]
    last = alone(folder, tmp_path / "last.json", **PLAIN)
    assert any(line.startswith("resumed: after step 21 of 40") for line in last["said"])
    assert last["loss"] == pytest.approx(one["loss"], abs=1e-4)


@pytest.mark.parametrize("signalled", [0, 1])
def test_sigterm_on_any_rank_stops_all_within_a_step_and_the_resumed_gang_is_the_uninterrupted_one(
    signalled: int, two: Callable[..., list[int]], out: Path, tmp_path: Path
) -> None:
    whole = gang(tmp_path / "whole", tmp_path / "whole-out", free_port())
    assert whole() == [0, 0]
    assert two({signalled: {"kill": (signal.SIGTERM, 10)}}) == [143, 143]
    messages = [left(out, number)["message"] for number in (0, 1)]
    assert all(message.startswith(f"SIGTERM: stopped after step 11 of {STEPS}, ") for message in messages)
    assert list((tmp_path / "checkpoints").glob("step-0000000011.*.pt"))
    later = gang(tmp_path / "checkpoints", tmp_path / "later-out", free_port())
    assert later() == [0, 0]
    assert left(tmp_path / "later-out")["weights"] == left(tmp_path / "whole-out")["weights"]


def test_what_one_process_fails_with_is_what_all_fail_with(two: Callable[..., list[int]], out: Path) -> None:
    assert two({1: {"fail": DataError("digits: broken on this node")}}) == [12, 12]
    assert (left(out)["reason"], left(out)["message"]) == ("DataError", "rank 1: digits: broken on this node")
    assert left(out, 1)["message"] == "digits: broken on this node"


def test_a_process_that_never_comes_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "_START", 0.2)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    with (
        pytest.raises(RankLost, match=r"^rank 1 of 2 was not started within 0 s$"),
        distributed.gang_of(Rank(0, 2)) as alone,
    ):
        alone.meet(torch.device("cpu"))


@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_that_ends_without_a_word_is_missed(killed: int, two: Callable[..., list[int]], out: Path) -> None:
    codes = two({killed: {"kill": (signal.SIGKILL, 10)}})
    assert (codes[killed], codes[1 - killed]) == (-signal.SIGKILL, 14)
    assert left(out, 1 - killed)["reason"] == "RankLost"


def test_a_gang_that_crashed_restarts_on_the_same_store_three_times(out: Path, tmp_path: Path) -> None:
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=10))
    folder = tmp_path / "checkpoints"
    for attempt in range(4):
        names: dict[str, Any] = {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": str(attempt)}
        crash = {attempt % 2: {"kill": (signal.SIGKILL, PER_EPOCH + 1)}} if attempt < 3 else {}
        codes = gang(folder, out, store.port, **names)(crash)
        assert sorted(codes) == ([-9, 14] if attempt < 3 else [0, 0])
    assert any(line.startswith(f"resumed: after step {3 * PER_EPOCH} of") for line in left(out)["said"])
    whole = gang(tmp_path / "whole", tmp_path / "whole-out", free_port())
    assert whole() == [0, 0]
    assert left(out)["weights"] == left(tmp_path / "whole-out")["weights"]


def test_more_parts_and_a_batch_that_two_cannot_share_evenly_change_nothing(
    two: Callable[..., list[int]], out: Path, tmp_path: Path
) -> None:
    # 60 samples in batches of 59: the last step has one sample, and the second process none.
    odd = {**PLAIN, "trainer": {**PLAIN["trainer"], "batchSize": 59, "accumulate": 3}}
    one = alone(tmp_path / "one", tmp_path / "one.json", **odd)
    assert two(**odd) == [0, 0]
    assert left(out)["loss"] == pytest.approx(one["loss"], abs=1e-4)


def test_a_batch_smaller_than_the_gang_is_refused_by_all(two: Callable[..., list[int]], out: Path) -> None:
    assert two(trainer={"batchSize": 1}) == [1, 1]
    assert left(out)["message"] == "trainer.batchSize: 1 is not allowed; must be >= the 2 processes of the run"


def test_under_torchrun_rank_0_speaks_and_publishes(stripes: Callable[..., Path], tmp_path: Path) -> None:
    config = {
        "model": {"name": "convnet", "options": {"channels": 4, "hidden": 8}},
        "dataset": {"path": str(stripes())},
        "trainer": {"epochs": 20, "learningRate": 0.01},
        "store": {"root": str(tmp_path / "store")},
        "output": {"model": "stripes"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    code, out, message = torchrun(tmp_path)
    assert code == 0
    assert json.loads(out.splitlines()[-1]) == message
    assert (message["outcome"], message["artifact"]["version"]) == ("Published", 1)
    assert message["result"]["accuracy"] == 1.0
    assert out.count("test split:") == 1


def test_under_torchrun_the_gangs_failure_is_in_the_termination_message(tmp_path: Path) -> None:
    config = {"model": {"name": "convnet"}, "dataset": {"path": "/nowhere.npz"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    code, _, message = torchrun(tmp_path)
    assert code == 1
    assert (message["outcome"], message["reason"]) == ("Failed", "DataError")
    assert "/nowhere.npz: No such file or directory" in message["message"]


def torchrun(folder: Path) -> tuple[int, str, dict[str, Any]]:
    """Run config.json of the folder in two processes; return the exit code, stdout and the termination message."""
    log = folder / "termination-log"
    ended = subprocess.run(
        [
            *[sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"],
            *["-m", "trainserve.models", str(folder / "config.json")],
        ],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TRAINSERVE_TERMINATION_LOG": str(log)},
    )
    return ended.returncode, ended.stdout, json.loads(log.read_text())


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Rank()),
        ({"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, Rank(3, 4, 1, 2)),
        ({"WORLD_SIZE": "2", "RANK": "1"}, Rank(1, 2, 0, 1)),
    ],
)
def test_the_rank_is_read_from_torchruns_environment(environment: dict[str, str], expected: Rank) -> None:
    assert rank.of(environment) == expected


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"WORLD_SIZE": "2"}, "RANK: None is not allowed; must be a number, as torchrun sets it"),
        ({"WORLD_SIZE": "two", "RANK": "0"}, "WORLD_SIZE: 'two' is not allowed; must be a number"),
        (
            {"WORLD_SIZE": "2", "RANK": "2"},
            "RANK: 2 is not allowed; must be less than WORLD_SIZE, 2, and LOCAL_RANK, 0",
        ),
    ],
)
def test_an_environment_that_torchrun_would_not_set_is_refused(environment: dict[str, str], text: str) -> None:
    with pytest.raises(UserError) as error:
        rank.of(environment)
    assert str(error.value).startswith(text)


def test_rank_0_says_which_port_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("MASTER_PORT", str(port))
        with pytest.raises(PortTaken, match=f"MASTER_PORT: port {port} of 127.0.0.1 is taken by another process"):
            distributed._store(Rank(0, 2))
