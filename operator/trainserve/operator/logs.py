"""The common parts of log lines: the object that a line is about, and the text of an error."""

from __future__ import annotations

from typing import Any


def about(kind: str, namespace: str, name: str, uid: str | None = None) -> dict[str, Any]:
    """Return the `extra` of a log line about one object: the field `object`, in the form that Kopf's own lines have,
    for JSON logs (`kopf run --log-format=json`).

    Kopf's `k8s_ref` would also put `[namespace/name]` before the text, which names the object itself; separate fields
    would collide with the `name` of a log record.
    """
    named = {"kind": kind, "namespace": namespace, "name": name}
    return {"object": named | ({"uid": uid} if uid is not None else {})}


def text_of(error: Exception) -> str:
    """Return the error's text, or the name of its class if the text is empty, as for a TimeoutError."""
    return str(error) or type(error).__name__
