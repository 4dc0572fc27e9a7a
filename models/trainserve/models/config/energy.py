"""`energy`: how a run's energy becomes emissions."""

from __future__ import annotations

from pydantic import Field

from trainserve.models.config.base import Section


class Energy(Section):
    """Energy is always measured where a counter exists. `grid_intensity`: gCO2e per kWh of where this runs."""

    grid_intensity: float | None = Field(None, ge=0, le=10_000)
