"""One colour for each meaning, on every board.

All are colour names that Grafana resolves by theme, so that they are legible on the light and on the dark theme.
"""

from __future__ import annotations

from collections.abc import Mapping

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models.dashboard import (
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)

SUCCESS = "green"
FAILURE = "red"
WAITING = "yellow"
WARNING = "orange"
ACCENT = "blue"
SECOND = "purple"
THIRD = "super-light-blue"
FOURTH = "super-light-purple"
NEUTRAL = "text"
"""Colour of the theme's own text."""

KINDS = {"TrainJob": ACCENT, "ModelServe": SECOND}
PHASES = {
    "Running": ACCENT,
    "Complete": SUCCESS,
    "Ready": SUCCESS,
    "Updating": ACCENT,
    "Starting": ACCENT,
    "Pending": WAITING,
    "Waiting": WAITING,
    "Unschedulable": WARNING,
    "Restarting": WARNING,
    "Degraded": WARNING,
    "Refused": FAILURE,
    "Failed": FAILURE,
}
"""Colours of all phases of a TrainJob and of a ModelServe."""


def fixed(colour: str) -> builders.FieldColor:
    """Return a setting that gives all series one colour."""
    return builders.FieldColor().mode(FieldColorModeId.FIXED).fixed_color(colour)


def by_threshold() -> builders.FieldColor:
    """Return a setting that gives a value the colour of the threshold that it has reached."""
    return builders.FieldColor().mode(FieldColorModeId.THRESHOLDS)


def in_turn() -> builders.FieldColor:
    """Return a setting that assigns Grafana's palette in order; assigned by name, a single series could be brown."""
    return builders.FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC)


def of_kinds(*suffixes: str) -> dict[str, str]:
    """Return the colours of series named by kind and a suffix; the first of two suffixes gets the paler colour."""
    pale = {"TrainJob": THIRD, "ModelServe": FOURTH} if len(suffixes) > 1 else KINDS
    return {
        f"{kind}{suffix}": (pale if at == 0 else KINDS)[kind] for kind in KINDS for at, suffix in enumerate(suffixes)
    }


def override(colour: str) -> DynamicConfigValue:
    """Return the colour of one series as a property of an override."""
    return DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})


def steps(base: str, *more: tuple[float, str]) -> builders.ThresholdsConfig:
    """Return thresholds: `base` below the first value, then each colour from its value on."""
    listed = [Threshold(None, base), *(Threshold(value, colour) for value, colour in more)]
    return builders.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(listed)


def phase_mapping() -> ValueMap:
    """Return a mapping of phases to texts in their colours."""
    listed = enumerate(PHASES.items())
    return ValueMap({phase: ValueMappingResult(phase, colour, index=at) for at, (phase, colour) in listed})


def texts(meanings: Mapping[str, tuple[str, str]]) -> ValueMap:
    """Return a mapping of values to texts and colours; `meanings` is like `{"1": ("leads", SUCCESS)}`."""
    listed = enumerate(meanings.items())
    return ValueMap({value: ValueMappingResult(text, colour, index=at) for at, (value, (text, colour)) in listed})
