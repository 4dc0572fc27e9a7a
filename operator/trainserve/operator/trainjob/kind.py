"""TrainJob as the reconciler sees it."""

from __future__ import annotations

from datetime import datetime

from trainserve.operator.kinds import Answers
from trainserve.operator.plan import Object, Plan
from trainserve.operator.poller import Target
from trainserve.operator.settings import Settings
from trainserve.operator.trainjob import progress
from trainserve.operator.trainjob.plan import plan


class TrainJobs:
    """Binds the pure functions of this room to the operator's settings."""

    name = "TrainJob"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def targets(self, owner: Object, children: list[Object], answers: Answers) -> dict[str, Target]:
        """Rank 0 of the running attempt."""
        return progress.targets(owner, children)

    def plan(self, owner: Object, children: list[Object], answers: Answers, now: datetime) -> Plan:
        """The next step of one run."""
        return plan(owner, children, progress.latest(answers), self._settings, now)
