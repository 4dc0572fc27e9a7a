from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, Group
from rich.text import Text

from trainserve.cli.top import rows, view
from trainserve.cli.top.figures import P99
from trainserve.cli.top.rows import Serving, Training
from trainserve.cli.top.watcher import Snapshot

AT = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
RUNNING = Training(
    namespace="team", name="digits", phase="Running", epoch=3, epochs=5, loss=0.0884, accuracy=0.974, rate=2528.4,
    eta=65, gpu=0.87, memory=3.2 * 2**30, attempts=1, age=100, gpus=2,
)  # fmt: skip
WAITING = Training(
    namespace="team", name="large", phase="Unschedulable", age=700, gpus=8, why="0/3 nodes are available: 3 GPUs asked"
)
COMPLETE = Training(
    namespace="team", name="before", phase="Complete", epoch=5, epochs=5, loss=0.1, accuracy=0.97, attempts=2, age=1e5
)
SERVES = Serving(
    namespace="team", name="digits", phase="Ready", version=4, ready=2, replicas=2, rate=41.26, p99=P99(2.14, "server"),
    age=9000, gpus=2,
)  # fmt: skip
SNAPSHOT = Snapshot("kind", "team", AT, [COMPLETE, WAITING, RUNNING], [SERVES])


def drawn(lines: list[Text], width: int) -> list[str]:
    """Return the lines as a terminal of this width shows them."""
    console = Console(width=width, file=io.StringIO(), color_system=None, legacy_windows=False)
    with console.capture() as printed:
        console.print(Group(*lines))
    return [line.rstrip() for line in printed.get().splitlines()]


def page(snapshot: Snapshot, width: int = 200, sort: str = "phase") -> list[str]:
    return drawn(view.page(snapshot, sort, width), width)[3:]


def screen(snapshot: Snapshot, width: int, height: int) -> list[str]:
    return drawn(view.screen(snapshot, "phase", width, height, 2.0), width)


def test_a_wide_page_shows_every_figure() -> None:
    assert page(SNAPSHOT) == [
        "TRAINJOB      PHASE          EPOCH     LOSS    ACC   IMG/S    ETA   GPU    MEM  TRY    AGE  WHY",
        "digits        Running          3/5   0.0884  0.974   2,528    65s   87%   3.2G    1   100s",
        "large         Unschedulable      -        -      -       -      -     -      -    0    11m"
        "  0/3 nodes are available: 3 GPUs asked",
        "before        Complete         5/5      0.1  0.970       -      -     -      -    2    27h",
        "",
        "MODELSERVE    PHASE     READY  VERSION   REQ/S      P99    AGE",
        "digits        Ready       2/2        4    41.3    2.1ms   150m",
    ]


def test_a_narrow_page_leaves_the_least_important_columns_out_and_cuts_reasons() -> None:
    assert page(SNAPSHOT, 72) == [
        "TRAINJOB      PHASE          EPOCH    ACC   IMG/S  WHY",
        "digits        Running          3/5  0.974   2,528",
        "large         Unschedulable      -      -       -  0/3 nodes are a…",
        "before        Complete         5/5  0.970       -",
        "",
        "MODELSERVE    PHASE     READY  VERSION   REQ/S      P99    AGE",
        "digits        Ready       2/2        4    41.3    2.1ms   150m",
    ]


def test_columns_that_are_empty_go_before_a_reason_is_cut() -> None:
    snapshot = replace(SNAPSHOT, trainings=[WAITING])
    assert "GPU" in page(snapshot, 200)[0].split()
    assert page(snapshot, 120)[0].split()[-2:] == ["AGE", "WHY"]
    assert "GPU" not in page(snapshot, 120)[0].split()
    assert page(snapshot, 120)[1].endswith("3 GPUs asked")


def test_of_all_namespaces_each_row_says_which() -> None:
    lines = page(replace(SNAPSHOT, namespace=None))
    assert lines[0].startswith("NAMESPACE  TRAINJOB      PHASE")
    assert lines[1].startswith("team       digits        Running")
    assert lines[5].startswith("NAMESPACE  MODELSERVE")


def test_the_heading_says_where_and_when_how_many_of_each_and_the_gpus_asked() -> None:
    first, second = drawn(view.page(SNAPSHOT, "phase", 200), 200)[:2]
    assert first == f"TrainServe  kind · namespace team · {AT.astimezone():%H:%M:%S}"
    assert second == (
        "TrainJobs 3: 1 Running, 1 Unschedulable, 1 Complete · ModelServes 1: 1 Ready · GPUs requested 12"
    )
    assert "all namespaces" in drawn(view.page(replace(SNAPSHOT, namespace=None), "phase", 200), 200)[0]


def test_where_there_is_nothing_the_tables_say_so() -> None:
    lines = page(replace(SNAPSHOT, trainings=[], servings=[]))
    assert [line for line in lines if line == "none"] == ["none", "none"]


@pytest.mark.parametrize(
    ("p99", "cell"),
    [
        (P99(2.14, "server"), "2.1ms"),
        (P99(2.14, "probe"), "~2.1ms"),
        (P99(213.7, "server"), "214ms"),
        (P99(2000.0, "server", beyond=True), ">2.0s"),
        (None, "-"),
    ],
)
def test_a_p99_says_whose_it_is_and_whether_it_is_more(p99: P99 | None, cell: str) -> None:
    assert page(replace(SNAPSHOT, servings=[replace(SERVES, p99=p99)]))[-1].split()[-2] == cell


def test_a_p99_that_misses_the_objective_is_red() -> None:
    (column,) = [each for each in view.modelserves(SNAPSHOT) if each.heading == "P99"]
    assert "red" in str(column.cell(replace(SERVES, objective=2.0)).style)
    assert "red" not in str(column.cell(replace(SERVES, objective=3.0)).style)


def test_a_loss_that_is_no_number_is_told() -> None:
    lines = page(replace(SNAPSHOT, trainings=[replace(RUNNING, loss=float("nan"))]))
    assert lines[1].split()[3] == "NaN"


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0s"),
        (119.9, "119s"),
        (120, "2m"),
        (215, "3m35s"),
        (3599, "59m"),
        (10800, "3h"),
        (11100, "3h5m"),
        (36000, "10h"),
        (200000, "2d7h"),
        (691200, "8d"),
        (4e8, "12y"),
    ],
)
def test_times_are_written_as_kubectl_does(seconds: float, written: str) -> None:
    assert view.duration(seconds) == written


def test_names_and_reasons_are_text_and_no_markup() -> None:
    hostile = "[bold red]x[/bold red] [link=http://x]"
    lines = page(replace(SNAPSHOT, trainings=[replace(WAITING, name=hostile, why=hostile)]), 300)
    assert lines[1].count(hostile) == 2


def test_control_characters_of_an_object_never_reach_the_terminal() -> None:
    hostile = "\x1b]0;title\x07\x1b[2J\x9b31m"
    job = {
        "metadata": {"name": hostile, "namespace": hostile},
        "status": {"phase": hostile, "conditions": [{"type": "Running", "reason": hostile, "message": hostile}]},
    }
    snapshot = replace(SNAPSHOT, namespace=None, trainings=[rows.training(job, None, AT)], notes=[rows.clean(hostile)])
    console = Console(width=200, file=io.StringIO(), force_terminal=True, color_system=None)
    with console.capture() as printed:
        console.print(Group(*view.page(snapshot, "phase", 200)))
    assert not set(printed.get()) & {"\x1b", "\x07", "\x9b"}


def many(count: int) -> list[Training]:
    return [replace(COMPLETE, name=f"job-{number}", age=float(number)) for number in range(count)]


def test_a_screen_has_the_most_interesting_rows_and_counts_the_others() -> None:
    lines = screen(replace(SNAPSHOT, trainings=[*many(1000), RUNNING]), 120, 20)
    assert len(lines) == 20
    assert lines[4].startswith("digits        Running")
    assert "… and 990 more: 990 Complete" in lines
    assert any(line.startswith("digits        Ready") for line in lines)
    assert lines[-1] == " q  quit   s  sorted by phase"


def test_a_note_is_above_the_keys() -> None:
    lines = screen(replace(SNAPSHOT, notes=["no figures from digits-1-0:9400: no answer within 2 s"]), 100, 20)
    assert lines[-2] == "no figures from digits-1-0:9400: no answer within 2 s"


@given(st.integers(1, 250), st.integers(1, 30), st.integers(0, 20), st.integers(0, 20), st.text(max_size=300))
def test_a_screen_is_never_wider_or_higher_than_the_terminal(
    width: int, height: int, jobs: int, serves: int, text: str
) -> None:
    name: Any = rows.clean(text)
    snapshot = replace(
        SNAPSHOT,
        trainings=[replace(RUNNING, name=name, why=name)] * jobs,
        servings=[replace(SERVES, name=name)] * serves,
        notes=[name],
    )
    lines = screen(snapshot, width, height)
    assert all(cell_len(line) <= width for line in lines)
    assert len(lines) == height


@given(st.tuples(st.integers(0, 2000), st.integers(0, 2000)), st.integers(-5, 200))
def test_two_tables_share_the_room_and_none_gets_less_than_half_unless_it_wants_less(
    wanted: tuple[int, int], room: int
) -> None:
    shares = view.fit(wanted, room)
    assert sum(shares) <= max(0, room)
    assert all(0 <= share <= want for share, want in zip(shares, wanted, strict=True))
    assert all(share >= min(want, max(0, room) // 2) for share, want in zip(shares, wanted, strict=True))
    assert sum(shares) == min(sum(wanted), max(0, room))
