"""What lines of the log have beside their words, for whoever reads them as JSON (`kopf run --log-format=json`)."""

from __future__ import annotations

from typing import Any


def about(kind: str, namespace: str, name: str, uid: str | None = None) -> dict[str, Any]:
    """`extra` of a line about one object: the field `object`, in the form that Kopf's own lines have.

    Not Kopf's `k8s_ref`: it also puts `[namespace/name]` before the words, which name the object themselves. Nor fields
    beside each other: a record of Python's has a `name` already.
    """
    named = {"kind": kind, "namespace": namespace, "name": name}
    return {"object": named | ({"uid": uid} if uid is not None else {})}
