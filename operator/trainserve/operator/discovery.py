"""Discovery of the versions in which the cluster serves optional APIs; they come and go with releases of Kubernetes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from trainserve.operator.logs import text_of

logger = logging.getLogger(__name__)

LOOK_EVERY = 300.0
"""Seconds between checks: a control plane may be upgraded while the operator runs."""
RETRY = 2.0


@dataclass(frozen=True)
class Api:
    """An API kind and the versions in which it may be served."""

    group: str
    plural: str
    versions: tuple[str, ...]
    """Preferred version first; the fields that the operator uses have the same meaning in all of them."""

    def named(self) -> str:
        """Return the versions for messages, such as `policy/v1 or policy/v1beta1`."""
        return " or ".join(f"{self.group}/{version}" for version in self.versions)


APIS = {
    "PodDisruptionBudget": Api("policy", "poddisruptionbudgets", ("v1", "v1beta1")),
}
"""https://kubernetes.io/docs/reference/using-api/deprecation-guide/: v1 from 1.21 on, v1beta1 until 1.24."""

Served = Callable[[str, str], Awaitable[set[str]]]
"""Returns the plural names of the resources in a group and version; empty if the server has no such version."""


class Discovery:
    """Periodic check of the served versions, and the results of the last one."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._versions: dict[str, str] = {}
        self.looked = asyncio.Event()
        """Set once the server has answered for every kind."""

    def version(self, kind: str) -> str | None:
        """Return the version to use, or None if the cluster serves none of the known ones."""
        return self._versions.get(kind)

    async def run(self) -> None:
        """Check periodically until cancelled."""
        while True:
            try:
                await self.look()
            except Exception as error:
                logger.warning("discovery: %s; again in a moment", text_of(error))
                await asyncio.sleep(RETRY)
            else:
                await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """Query the server once for every optional kind."""
        self._versions = {kind: version for kind, api in APIS.items() if (version := await self._best(api)) is not None}
        self.looked.set()

    async def _best(self, api: Api) -> str | None:
        for version in api.versions:
            if api.plural in await self._served(api.group, version):
                return version
        return None
