"""`log`: how a run tells its progress on stdout."""

from __future__ import annotations

from typing import Literal

from trainserve.models.config.base import Section


class Log(Section):
    """auto: a bar on a terminal, plain lines elsewhere. json: one JSON object a line, wherever it goes."""

    format: Literal["auto", "json"] = "auto"
