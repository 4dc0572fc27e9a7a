"""Blocks of a Prometheus made from series by promtool, from OpenMetrics text of one block's length at a time."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

from bench.history import fleet, gpus, operating, serving, training
from bench.history.clock import BLOCK, Clock
from bench.history.series import Series
from trainserve.dev.prometheus import promtool

PROCESSES = 2
Making = Callable[[Clock], Iterable[Series]]


def cluster(trainjobs: int, modelserves: int, clock: Clock) -> Iterable[Series]:
    """Yield every series that is scraped."""
    jobs, serves = fleet.jobs(clock, trainjobs), fleet.serves(clock, modelserves)
    return chain(
        operating.of_process(clock, jobs, serves),
        chain.from_iterable(
            chain(training.pod(clock, job), gpus.of_job(clock, job), operating.of_job(clock, job)) for job in jobs
        ),
        chain.from_iterable(
            chain(serving.pods(clock, serve), gpus.of_serve(clock, serve), operating.of_serve(clock, serve))
            for serve in serves
        ),
    )


def write(clock: Clock, series: Making, folder: Path) -> int:
    """Write blocks of all the series into `folder` and return the number of samples.

    `series` is called in processes of their own, once for each block.
    """
    folder.mkdir(parents=True, exist_ok=True)
    promtool()  # fetched before the processes ask for it
    with ProcessPoolExecutor(PROCESSES) as pool:
        return sum(pool.map(partial(_block, clock, series, folder), clock.windows()))


def _block(clock: Clock, series: Making, folder: Path, window: tuple[int, int]) -> int:
    stamps = [f" {time}\n" for time in clock.times.tolist()]
    samples = 0
    # Beside the blocks, since it may be larger than /tmp.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".text-") as scratch:
        text = Path(scratch) / "metrics.txt"
        with text.open("w", buffering=1 << 20) as file:
            for each in series(clock):
                lines = each.lines(window, stamps)
                samples += lines.count("\n")
                file.write(lines)
            file.write("# EOF\n")
        made = Path(scratch) / "blocks"
        command = [str(promtool()), "tsdb", "create-blocks-from", f"--max-block-duration={BLOCK}s", "openmetrics"]
        subprocess.run([*command, "--quiet", str(text), str(made)], check=True, stdout=subprocess.DEVNULL)
        for block in made.iterdir():
            block.rename(folder / block.name)
    return samples


def linked(source: Path, target: Path) -> None:
    """Make the blocks of one folder appear in another, without a copy of their bytes."""
    shutil.copytree(source, target, copy_function=os.link, dirs_exist_ok=True)
