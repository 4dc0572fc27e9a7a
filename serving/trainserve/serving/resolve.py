"""Which version a ModelServe means, asked of the store by a pod because the operator reads no storage."""

from __future__ import annotations

from typing import Any

from trainserve import store


def resolve(root: str, public_root: str, namespace: str, model: str, version: int | None) -> dict[str, Any]:
    """The termination message of `trainserve.serving resolve` (docs/contracts.md)."""
    try:
        found = store.resolve(root, namespace, model, version, public_root)
    except store.StoreError as error:
        return {"outcome": "Failed", "reason": error.reason, "message": str(error)}
    return {"outcome": "Resolved", "uri": found.uri, "version": found.version, "digest": found.digest}
