"""The common parts of log lines: the object that a line is about, and the text of an error."""

from __future__ import annotations

from typing import Any


def about(kind: str, namespace: str, name: str, uid: str | None = None) -> dict[str, Any]:
    """Return the `extra` of a line about one object: the field `object`, in the form of Kopf's own lines, for readers
    of JSON (`kopf run --log-format=json`).

    Kopf's `k8s_ref` would also put `[namespace/name]` before the text, which names the object itself; separate fields
    would collide with the `name` of a log record.
    """
    named = {"kind": kind, "namespace": namespace, "name": name}
    return {"object": named | ({"uid": uid} if uid is not None else {})}


def text_of(error: Exception) -> str:
    """Return the error's text, or its class if it has none, as a TimeoutError does not."""
    return str(error) or type(error).__name__
