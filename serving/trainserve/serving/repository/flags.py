"""Flags with which `trainserve serve` starts `tritonserver`: those of a cluster's pods, and a supervisor's."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from trainserve.api.pod import CONTROLLED_MODE, SERVING_MODE, triton_flags
from trainserve.serving.repository import repository as repositories
from trainserve.serving.repository.settings import Settings

# A supervisor reloads models that do not answer, and reports those that could not be loaded.
_SUPERVISED = (*CONTROLLED_MODE, "--load-model=*")


def server_flags(
    repository: Path,
    address: str,
    settings: Iterable[Settings],
    *,
    supervised: bool = False,
    described: bool = True,
    histogram: bool = False,
) -> list[str]:
    """Return the flags of a server with `repository` that listens only on `address`.

    `described` says whether each model's config.pbtxt is complete, so that no backend has to complete it; `histogram`,
    whether the server has a latency histogram (api/triton_releases.py).
    """
    return [
        *triton_flags(repository, address, _SUPERVISED if supervised else SERVING_MODE, described=described),
        *repositories.server_flags(settings, histogram=histogram),
    ]
