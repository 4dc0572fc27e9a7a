"""What a run reports: to Kubernetes, over HTTP, and on a terminal."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainserve.api import messages
from trainserve.models import result, telling
from trainserve.models.progress import Progress


@given(text=st.text(max_size=3000))
def test_a_termination_message_is_always_json_under_4_kib(text: str) -> None:
    failed = result.failure("UserError", text, Progress(), {"accuracy": 0.5})
    line, message = result.encode(failed), failed.wire()
    assert len(line.encode()) < 4096
    parsed = json.loads(line)
    assert {**parsed, "message": ""} == {**message, "message": ""}
    head, gap, tail = parsed["message"].partition(messages.GAP)
    whole = message["message"] == parsed["message"]
    assert whole or (message["message"].startswith(head) and gap and message["message"].endswith(tail))


def test_a_long_message_is_cut_and_a_short_one_is_not() -> None:
    short, long = (result.failure("DataError", text, Progress(), {}) for text in ("short", "x" * 9000))
    assert json.loads(result.encode(short))["message"] == "short"
    assert len(result.encode(long)) > 4000
    assert messages.GAP in json.loads(result.encode(long))["message"]


@given(text=st.text(max_size=300), room=st.integers(40, 400))
def test_a_shortened_text_fits_as_json_and_keeps_its_last_words(text: str, room: int) -> None:
    shown = messages.shortened(text, room)
    assert len(json.dumps(shown)) - 2 <= room
    assert shown == text or shown.endswith(text[-1:])


def test_a_long_text_keeps_what_it_begins_and_what_it_ends_with() -> None:
    text = "model.script: train.py, line 3: " + "x" * 9000 + " no space is left"
    shown = json.loads(result.encode(result.failure("UserError", text, Progress(), {})))["message"]
    assert shown.startswith("model.script: train.py, line 3: x")
    assert shown.endswith("x no space is left")


IN_A_WORKER = """Caught KeyError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "/lib/site-packages/torch/utils/data/_utils/worker.py", line 374, in _worker_loop
    data = fetcher.fetch(index)
           ^^^^^^^^^^^^^^^^^^^^
  File "/home/me/train.py", line 9, in __getitem__
    return self.images[index]

  File "/lib/site-packages/pandas/base.py", line 1, in get
KeyError: 'x'
"""
SPAWNED = """

-- Process 1 terminated with the following error:
Traceback (most recent call last):
  File "/home/me/train.py", line 4, in work
    raise ValueError(text)
ValueError: first
second
"""


@pytest.mark.parametrize(
    ("error", "text", "place"),
    [
        (
            RuntimeError(IN_A_WORKER),
            "RuntimeError: Caught KeyError in DataLoader worker process 0.\nKeyError: 'x'",
            "train.py, line 9",
        ),
        (
            RuntimeError(SPAWNED),
            "RuntimeError: -- Process 1 terminated with the following error:\nValueError: first\nsecond",
            "train.py, line 4",
        ),
        (KeyError("x"), "KeyError: 'x'", None),
        (ValueError(), "ValueError", None),
        (ValueError("a\n  b"), "ValueError: a\n  b", None),
    ],
)
def test_an_error_is_told_by_its_last_words_and_the_users_own_line(
    error: Exception, text: str, place: str | None
) -> None:
    assert telling.told(error) == text
    assert telling.place(Path("/home/me/train.py"), str(error)) == place


@pytest.mark.parametrize(
    "text",
    [
        "unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device (28)",
        "unable to write to file </torch_25380_2054996045_1>: No space left on device (28)",
        "DataLoader worker (pid 7) is killed by signal: Bus error.",
        "DataLoader worker (pid(s) 7) exited unexpectedly",
        "[Errno 28] No space left on device: '/psm_1234'",
    ],
)
def test_a_full_shared_memory_is_told_with_its_size_and_what_to_do(text: str) -> None:
    told = telling.told(RuntimeError(text))
    assert told.startswith(f"RuntimeError: {text}; DataLoader workers pass batches through /dev/shm, which has ")
    assert told.endswith("or raise resources.memory (a quarter of it is /dev/shm)")


def test_another_error_says_nothing_of_shared_memory() -> None:
    assert telling.told(OSError(28, "No space left on device")) == "OSError: [Errno 28] No space left on device"


def test_a_message_of_several_lines_becomes_one() -> None:
    assert result.failure("UserError", "one\n  two", Progress(), {}).message == "one two"


def test_a_termination_log_that_cannot_be_written_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAINSERVE_TERMINATION_LOG", str(tmp_path / "absent" / "log"))
    result.write(messages.Trained())
    out, err = capsys.readouterr()
    assert json.loads(out) == {"formatVersion": 1, "outcome": "Trained"}
    assert "No such file or directory" in err
