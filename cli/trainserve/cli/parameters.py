"""Option types that several commands share: lists of counts, rates, durations, shapes."""

from __future__ import annotations

import re
from typing import Any

import click

from trainserve.api.scalars.duration import microseconds

MOST_CALLERS = 512
MOST_PER_SECOND = 1_000_000.0


class _Counts(click.ParamType[list[int]]):
    name = "N,N,…"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> list[int]:
        parts = str(value).split(",")
        if not all(part.isascii() and part.isdigit() and 1 <= int(part) <= MOST_CALLERS for part in parts):
            self.fail(
                f"{value!r} is not a list of numbers from 1 to {MOST_CALLERS}, such as 1,8,32", parameter, context
            )
        return [int(part) for part in parts]


class _Rate(click.ParamType[float]):
    name = "N/s"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        found = re.fullmatch(r"([0-9]{1,7}(?:\.[0-9]{1,6})?)(?:/s)?", str(value))
        if not found or not 0 < float(found[1]) <= MOST_PER_SECOND:
            self.fail(f"{value!r} is not a rate in requests per second, such as 500/s", parameter, context)
        return float(found[1])


class _Milliseconds(click.ParamType[float]):
    name = "DURATION"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            found = microseconds(str(value)) / 1e3
        except ValueError as error:
            self.fail(str(error), parameter, context)
        if found <= 0:
            self.fail(f"{value!r} must be greater than 0", parameter, context)
        return found


class _Shape(click.ParamType[tuple[str, tuple[int, ...]]]):
    name = "NAME:N,N,…"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[str, tuple[int, ...]]:
        found = re.fullmatch(r"(.+):((?:[1-9][0-9]{0,8}(?:,(?!$)|$))*)", str(value))
        if not found:
            self.fail(f"{value!r} is not an input's name and shape, such as tokens:1,128", parameter, context)
        return found[1], tuple(int(size) for size in found[2].split(",") if size)


COUNTS, RATE, MILLISECONDS, SHAPE = _Counts(), _Rate(), _Milliseconds(), _Shape()
