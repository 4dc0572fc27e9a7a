"""The flags that `trainserve serve` starts `tritonserver` with: those of a cluster's pods, and a supervisor's."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from trainserve.api.pod import CONTROLLED_MODE, SERVING_MODE, triton_flags
from trainserve.serving.repository import repository as repositories
from trainserve.serving.repository.settings import Settings

# A supervisor loads a model anew that does not answer, and tells by name what could not be loaded.
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
    """The flags of a server over `repository` that listens on `address` alone.

    `described`: whether every model's config.pbtxt says all there is to say, so that no backend is asked. `histogram`:
    whether the server has one of latencies (api/triton_releases.py).
    """
    return [
        *triton_flags(repository, address, _SUPERVISED if supervised else SERVING_MODE, described=described),
        *repositories.server_flags(settings, histogram=histogram),
    ]
