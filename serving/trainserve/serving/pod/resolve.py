"""Resolution of a ModelServe's version, in a pod because the operator reads no storage."""

from __future__ import annotations

import time

from trainserve import store
from trainserve.api.messages import Failed, Resolved

_PAUSE = 1.0


def resolve(
    root: str, public_root: str, namespace: str, model: str, version: int | None, patience: float = 0.0
) -> Resolved | Failed:
    """Find a version, and return the termination message of `trainserve.serving resolve` (docs/contracts.md).

    `patience` is how long to wait for a version that the store does not have, in seconds.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            found = store.resolve(root, namespace, model, version, public_root)
        except store.StoreError as error:
            if time.monotonic() >= deadline:
                return Failed(reason=error.reason, message=str(error))
            time.sleep(_PAUSE)
        else:
            answer = Resolved(uri=found.uri, version=found.version, digest=found.digest)
            passed_over = {"passed_over": [*found.passed_over]} if found.passed_over else {}
            return answer.model_copy(update=passed_over)
