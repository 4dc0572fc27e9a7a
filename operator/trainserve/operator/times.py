"""Instants as Kubernetes writes them: RFC 3339 in UTC, whole seconds."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """This instant, UTC."""
    return datetime.now(UTC)


def to_text(instant: datetime) -> str:
    """`2026-11-22T16:00:00Z`."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_text(text: str) -> datetime:
    """Read an instant with or without fractions of a second."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
