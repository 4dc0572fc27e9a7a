"""The run's output on stdout: a progress bar on a terminal, else plain lines, or JSON lines if configured."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from trainserve.models.data.watch import Watch
from trainserve.models.finite import finite
from trainserve.models.progress import State

if TYPE_CHECKING:
    import rich.progress

    from trainserve.models.train import Report

LINE_EVERY = 10.0
"""Seconds between plain lines within an epoch."""
EPOCH_LINE_EVERY = 0.2
"""Seconds between lines at the end of epochs; that of the last epoch is always written."""


class Terminal:
    """Writes log lines and progress. `since`: perf_counter at time 0; `form`: the config's log.format."""

    def __init__(self, since: float, form: Literal["auto", "json"] = "auto") -> None:
        self._since = since
        self._json = form == "json"
        self._bar: rich.progress.Progress | None = None
        self._task: rich.progress.TaskID | None = None
        self._last_line = float("-inf")

    def __enter__(self) -> Self:
        if sys.stdout.isatty() and not self._json:
            from rich import progress

            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(bar_width=None),
                progress.TaskProgressColumn(),
                expand=True,
            )
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str, **numbers: Any) -> None:
        """Write the line `text`, of the form `subject: message`, prefixed with the seconds since the start.

        As JSON, the subject is the field `event`, and `numbers` are additional fields.
        """
        if self._json:
            event, _, message = text.partition(": ")
            self._write(event, {"message": message, **numbers})
            return
        line = f"{time.perf_counter() - self._since:7.2f} s  {text}"
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, flush=True)

    def watch(self) -> Watch:
        """A Watch for fetching and decoding data sets that writes here."""
        return Watch(self.say, self._bar)

    def trained(self, report: Report, state: State) -> None:
        """Show the progress of the training loop; `state`: as in /progress."""
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task("", total=report.steps)
            self._bar.update(self._task, completed=report.step, description=_worded(state))
            return
        now = time.perf_counter()
        every = EPOCH_LINE_EVERY if report.epoch_ended else LINE_EVERY
        if now - self._last_line < every and report.step < report.steps:
            return
        self._last_line = now
        if self._json:
            self._write("training", state.to_json())
        else:
            self.say(f"{_worded(state)}  {100 * report.step // report.steps} %")

    def _write(self, event: str, content: dict[str, Any]) -> None:
        when = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        print(json.dumps({"time": when, "event": event, **finite(content)}, allow_nan=False), flush=True)


def _worded(state: State) -> str:
    parts = [f"epoch {state.epoch}/{state.epochs}"]
    if state.loss is not None:
        parts.append(f"loss {state.loss:.4f}")
    if state.accuracy is not None:
        parts.append(f"accuracy {state.accuracy:.4f}")
    if state.samples_per_second is not None:
        parts.append(f"{state.samples_per_second:.0f} images/s")
    if state.gpu_utilization is not None and state.gpu_memory_bytes is not None:
        parts.append(f"GPU {state.gpu_utilization:.0%} {state.gpu_memory_bytes / 2**30:.1f} GiB")
    if state.eta_seconds is not None:
        parts.append(f"ETA {duration(state.eta_seconds)}")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """A duration as `42 s`, `3:07 min` or `2:05 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes < 100 else f"{minutes // 60}:{minutes % 60:02d} h"
