"""The result of tuning: the table, the choice, and what would be needed; as JSON and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from trainserve.serving.repository.settings import Settings
from trainserve.serving.tune.choice import Held, Needed, Row, choose, judged, needed, rows
from trainserve.serving.tune.trial import Candidate, Load, Measurement, Objective, Trial

FORMAT = 1


@dataclass(frozen=True)
class Subject:
    """The model, the hardware and the server that a result holds for."""

    model: str
    digest: str
    hardware: dict[str, Any]
    server: str


@dataclass(frozen=True)
class Result:
    """The result of one tuning. The table and the choice are computed from the measurements."""

    subject: Subject
    objective: Objective
    candidates: tuple[Candidate, ...]
    measurements: tuple[Measurement, ...]
    seconds: float

    @property
    def table(self) -> list[Row]:
        """A row for each measured candidate; the references come last."""
        return rows(self.candidates, self.measurements, self.objective)

    @property
    def choice(self) -> Row | None:
        """The row with the chosen settings."""
        return choose(self.table)

    @property
    def at_rate(self) -> Held | None:
        """The result of the choice at the requested rate, if that is less than its own."""
        asked = [each for each in self.measurements if each.trial.stage == "asked"]
        return judged(asked, self.objective) if asked else None

    @property
    def needed(self) -> Needed | None:
        """The needed replicas or objective; None if one replica meets the objective."""
        return needed(self.table, self.measurements, self.objective, self.choice)

    def as_dict(self) -> dict[str, Any]:
        """Return the result for JSON; `of_dict` reads subject, objective, candidates, measurements and seconds."""
        choice, at_rate, lacking = self.choice, self.at_rate, self.needed
        return {
            "format": FORMAT,
            "subject": asdict(self.subject),
            "objective": asdict(self.objective),
            "seconds": round(self.seconds, 1),
            "choice": None if choice is None else {"name": choice.candidate.name, **_held(choice.held)},
            "settings": None if choice is None else wire(choice.candidate.settings),
            "at_rate": None if at_rate is None else _held(at_rate),
            "needed": None if lacking is None else asdict(lacking),
            "table": [_row(row) for row in self.table],
            "candidates": [
                {"name": each.name, "role": each.role, "settings": wire(each.settings)} for each in self.candidates
            ],
            "measurements": [asdict(each) for each in self.measurements],
        }

    @classmethod
    def of_dict(cls, found: dict[str, Any]) -> Result:
        """Read the output of `as_dict`. Raises ValueError, KeyError, TypeError for anything else."""
        if found["format"] != FORMAT:
            raise ValueError(f"format {found['format']}; must be {FORMAT}")
        return cls(
            subject=Subject(**found["subject"]),
            objective=Objective(**found["objective"]),
            candidates=tuple(
                Candidate(each["name"], Settings.model_validate(each["settings"]), each["role"])
                for each in found["candidates"]
            ),
            measurements=tuple(_measurement(each) for each in found["measurements"]),
            seconds=found["seconds"],
        )


def wire(settings: Settings) -> dict[str, Any]:
    """Return settings in the form of spec.triton and `--settings`: the measured ones, and others if not default."""
    batching = settings.dynamic_batching
    measured = {"maxBatch": batching.max_batch} | (
        {} if batching.max_queue_delay is None else {"maxQueueDelay": batching.max_queue_delay}
    )
    others: dict[str, Any] = settings.model_dump(by_alias=True, exclude_defaults=True, mode="json")
    others["dynamicBatching"] = others.get("dynamicBatching", {}) | measured
    return {"instances": settings.instances, "threads": settings.threads, **others}


def described(settings: Settings) -> str:
    """Describe settings in one line."""
    batching = settings.dynamic_batching
    delay = f", delay {batching.max_queue_delay}" if batching.max_queue_delay else ""
    return f"batch {batching.max_batch}{delay}, {settings.instances} x {settings.threads} threads"


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.candidate.name,
        "role": row.candidate.role,
        "settings": wire(row.candidate.settings),
        "measurements": row.measurements,
        "closed": None if row.closed is None else _held(row.closed),
        "held": None if row.held is None else _held(row.held),
        "failure": row.failure,
    }


def _held(held: Held | None) -> dict[str, Any]:
    return {} if held is None else asdict(held)


def _measurement(found: dict[str, Any]) -> Measurement:
    trial = found["trial"]
    return Measurement(**{**found, "trial": Trial(trial["candidate"], trial["stage"], Load(**trial["load"]))})


def best_of(table: Sequence[Row], role: str) -> Row | None:
    """Return the row of a reference, `defaults` or `naive`; None if it was not measured."""
    return next((row for row in table if row.candidate.role == role), None)
