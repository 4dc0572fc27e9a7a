"""Click's parameter type for durations such as 20ms, for the commands in pods and for `trainserve`."""

from __future__ import annotations

from typing import Any

import click


class _Seconds(click.ParamType[float]):
    name = "DURATION"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        from trainserve.api.scalars.duration import seconds

        try:
            return float(seconds(str(value)))
        except ValueError as error:
            self.fail(str(error), parameter, context)


SECONDS = _Seconds()
