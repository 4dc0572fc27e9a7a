"""Instants in Kubernetes' text form: RFC 3339 in UTC, whole seconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

DISAGREE = timedelta(seconds=5)
"""Largest tolerated difference between the clocks of several API servers."""


def to_text(instant: datetime) -> str:
    """Return the instant as text, such as `2026-11-22T16:00:00Z`."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_text(text: str) -> datetime:
    """Parse an instant with or without fractions of a second."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def left(since: datetime, span: timedelta, now: datetime) -> timedelta:
    """Return what remains at `now` of a span that began at `since`; zero if `since` lies in the future, which only a
    wrong clock can report."""
    rest = since + span - now
    return rest if timedelta() < rest <= span + DISAGREE else timedelta()
