"""The components of the chaos benchmark: the faults it draws, the figures it counts, and the connections it cuts."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from bench.chaos import tally
from bench.chaos.__main__ import during
from bench.chaos.faults import CONTROL, DAY, KNOWN, LANES, Happened, deck
from bench.chaos.front import Front
from bench.chaos.load import Loss
from bench.chaos.tally import Version


def job(name: str, version: int | None = None, *, held: str = "Complete", reasons: str = "Succeeded") -> dict[str, Any]:
    """Return a TrainJob whose uid equals its name."""
    status: dict[str, Any] = {"conditions": [{"type": held, "status": "True"}]}
    status["attempts"] = [{"reason": reason} for reason in reasons.split()]
    if version is not None:
        status["artifact"] = {"version": version, "digest": f"d{version}"}
    return {"metadata": {"name": name, "uid": name}, "status": status}


def version(number: int, uid: str, *, whole: bool = True) -> Version:
    return Version("m", number, f"d{number}", uid, whole)


RECORD = {("m", number): f"d{number}" for number in range(1, 10)}


def test_every_fault_lasts_no_longer_than_its_bounds_and_comes_as_often_as_the_others() -> None:
    for bounds, _ in LANES:
        drawn = list(islice(deck(random.Random(7), bounds), 50 * len(bounds)))
        assert Counter(fault.name for fault in drawn) == dict.fromkeys(bounds, 50)
        for fault in drawn:
            least, most = bounds[fault.name]
            assert least <= fault.seconds <= most
            assert abs(fault.offset) <= DAY


def test_a_seed_gives_the_same_faults_again_and_another_gives_others() -> None:
    first, again, other = (list(islice(deck(random.Random(seed), CONTROL), 30)) for seed in (1, 1, 2))
    assert first == again != other


def test_no_fault_is_in_two_lanes() -> None:
    assert len(set(KNOWN)) == len(KNOWN) == sum(len(bounds) for bounds, _ in LANES)


def test_jobs_that_are_complete_once_are_all_that_is_counted() -> None:
    found = tally.count([job("a", 1), job("b", 2)], [version(1, "a"), version(2, "b")], RECORD)
    assert (found.complete, found.verified) == (2, 2)
    assert (found.failed, found.going_on, found.twice, found.unpublished, found.gaps) == (0, 0, 0, 0, 0)
    assert found.told == []


def test_what_is_wrong_with_a_job_is_counted_and_told() -> None:
    jobs = [job("twice", 1), job("none", 3), job("failed", held="Failed", reasons="StoreError UserError")]
    jobs.append(job("on", held="Running", reasons=""))
    found = tally.count(jobs, [version(1, "twice"), version(2, "twice"), version(4, "gone")], RECORD)
    assert (found.complete, found.failed, found.going_on) == (2, 1, 1)
    assert (found.twice, found.unpublished, found.gaps, found.verified) == (1, 1, 1, 0)
    assert found.attempts == {"Succeeded": 2, "StoreError": 1, "UserError": 1}
    assert [words.partition(":")[0] for words in found.told] == ["m", "twice", "none", "failed", "on"]


@pytest.mark.parametrize(
    ("of_job", "of_store", "recorded"),
    [
        (1, version(1, "a", whole=False), RECORD),
        (2, version(1, "a"), RECORD),
        (1, version(1, "a"), {("m", 1): "other"}),
        (1, version(1, "a"), {}),
    ],
)
def test_a_version_is_verified_where_store_status_and_record_agree(
    of_job: int, of_store: Version, recorded: dict[tuple[str, int], str]
) -> None:
    assert tally.count([job("a", of_job)], [of_store], recorded).verified == 0


def test_the_record_is_read_from_its_config_maps_alone() -> None:
    labels = {"trainserve.io/model": "m"}
    page = {"metadata": {"name": "trainserve-versions.m.0", "labels": labels}, "data": {"1": "d1", "2": "d2"}}
    other = {"metadata": {"name": "kube-root-ca.crt"}, "data": {"1": "no"}}
    assert tally.recorded([page, other]) == {("m", 1): "d1", ("m", 2): "d2"}


def test_what_is_half_written_is_found(tmp_path: Path) -> None:
    for path in ("ns/m/1", "ns/m/.publishing-ab", ".checkpoints/ns/uid", "other/m/.publishing-cd"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "ns/m/.lock").touch()
    assert tally.leftovers(tmp_path, "ns") == [".checkpoints/ns/uid", "ns/m/.publishing-ab"]


def test_a_loss_is_told_with_the_faults_of_its_time() -> None:
    happened = [Happened("early", "", 0, 1), Happened("kill probe", "pod", 100, 101), Happened("late", "", 200, 201)]
    assert during(Loss("s", "gRPC kept", 102, 103, "why"), happened) == ("gRPC kept to s, during kill probe pod: why")
    assert "during nothing" in during(Loss("s", "gRPC kept", 150, 151, "why"), happened)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)
    writer.close()


async def test_a_front_passes_on_what_it_is_given_and_passes_over_who_is_not_there() -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    there = server.sockets[0].getsockname()[:2]
    front = Front(lambda: [("127.0.0.1", 9), there])
    await front.listen()
    for _ in range(3):
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
    server.close()


async def test_a_cut_resets_the_connections_and_for_a_while_new_ones() -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    there = server.sockets[0].getsockname()[:2]
    front = Front(lambda: [there])
    await front.listen()
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
    writer.write(b"hello")
    await reader.readexactly(5)
    assert front.cut(0.3) == 1
    with pytest.raises(ConnectionResetError):
        await reader.readexactly(1)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):  # whichever the kernel reports first
        await (await asyncio.open_connection("127.0.0.1", front.port))[0].readexactly(1)
    await asyncio.sleep(0.4)
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
    writer.write(b"again")
    assert await reader.readexactly(5) == b"again"
    writer.close()
    server.close()
