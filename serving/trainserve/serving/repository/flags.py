"""The flags that `tritonserver` is started with: in a cluster's pods, and by `trainserve serve`.

The operator builds a pod's command itself, because it imports nothing of serving; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from trainserve.serving.repository import repository as repositories
from trainserve.serving.repository.settings import Settings

EXIT_SECONDS = 3
"""For what is being answered when the server is told to stop."""
_POD = ["--model-control-mode=none", "--exit-on-error=true", "--strict-readiness=true"]
# A supervisor loads a model anew that does not answer, and tells by name what could not be loaded.
_SUPERVISED = ["--model-control-mode=explicit", "--load-model=*", "--exit-on-error=false", "--strict-readiness=false"]


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
        f"--model-repository={repository}",
        *(_SUPERVISED if supervised else _POD),
        *(["--disable-auto-complete-config"] if described else []),
        # Its tables of options and models would push the reason why it ends out of the last words that are kept.
        "--log-info=false",
        f"--http-address={address}",
        f"--grpc-address={address}",
        f"--metrics-address={address}",
        f"--exit-timeout-secs={EXIT_SECONDS}",
        *repositories.server_flags(settings, histogram=histogram),
    ]
