import re
from pathlib import Path

import pytest

from trainserve.dev.agent.logs import ENTRY, LogRequest, LogWatcher, offset_since, read_log, tail_offset, time_at
from trainserve.dev.agent.records import Attempt
from trainserve.dev.agent.server import parse_query


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    folder = tmp_path / "uid" / "containers" / "c" / "0"
    folder.mkdir(parents=True)
    (folder / "log").write_bytes(b"one\ntwo\nthree")
    (folder / "log.times").write_bytes(ENTRY.pack(4, 1000.0) + ENTRY.pack(13, 2000.0))
    return Attempt(folder)


async def text_of(attempt: Attempt, request: LogRequest) -> str:
    return b"".join([block async for block in read_log(LogWatcher(), attempt, request)]).decode()


@pytest.mark.parametrize(
    ("content", "lines", "expected"),
    [
        (b"a\nb\nc\n", 0, b""),
        (b"a\nb\nc\n", 1, b"c\n"),
        (b"a\nb\nc\n", 2, b"b\nc\n"),
        (b"a\nb\nc", 2, b"b\nc"),
        (b"a\nb\nc\n", 9, b"a\nb\nc\n"),
        (b"", 3, b""),
        (b"\n\n\n", 1, b"\n"),
        (b"x" * 200_000 + b"\nlast\n", 1, b"last\n"),
        ((b"y" * 99_999 + b"\n") * 3, 2, (b"y" * 99_999 + b"\n") * 2),
    ],
)
def test_the_tail_begins_that_many_lines_before_the_end(
    tmp_path: Path, content: bytes, lines: int, expected: bytes
) -> None:
    path = tmp_path / "log"
    path.write_bytes(content)
    assert content[tail_offset(path, lines) :] == expected


async def test_a_log_is_given_as_it_was_written(attempt: Attempt) -> None:
    assert await text_of(attempt, LogRequest()) == "one\ntwo\nthree"


async def test_timestamps_say_when_a_line_was_written(attempt: Attempt) -> None:
    first, second, third = (await text_of(attempt, LogRequest(timestamps=True))).splitlines()
    assert first == "1970-01-01T00:16:40.000000000Z one"
    assert second == "1970-01-01T00:33:20.000000000Z two"
    assert re.fullmatch(r"1970-01-01T00:33:20\.\d{9}Z three", third)


async def test_a_reader_can_ask_for_what_is_newer_and_for_so_many_bytes(attempt: Attempt) -> None:
    assert await text_of(attempt, LogRequest(since=1500.0)) == "two\nthree"
    assert await text_of(attempt, LogRequest(limit_bytes=5)) == "one\nt"
    assert await text_of(attempt, LogRequest(tail_lines=1, since=500.0)) == "three"


def test_the_index_tells_times_and_offsets() -> None:
    index = [(4, 1000.0), (13, 2000.0)]
    assert [time_at(index, offset, 9.0) for offset in (0, 3, 4, 12, 13)] == [1000.0, 1000.0, 2000.0, 2000.0, 9.0]
    assert [offset_since(index, when) for when in (500.0, 1500.0, 2500.0)] == [0, 4, 13]


def test_a_query_that_is_not_a_number_is_refused_by_name() -> None:
    assert parse_query({"tailLines": "5", "follow": "true"}) == LogRequest(follow=True, tail_lines=5)
    with pytest.raises(ValueError, match="tailLines: 'many' is not a whole number"):
        parse_query({"tailLines": "many"})
