"""Which version of an optional API the cluster serves: they come and go over the releases of Kubernetes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from trainserve.operator.logs import text_of

logger = logging.getLogger(__name__)

LOOK_EVERY = 300.0
"""Seconds: a control plane may be upgraded under a running operator."""
RETRY = 2.0


@dataclass(frozen=True)
class Api:
    """A kind and the versions in which it may be served."""

    group: str
    plural: str
    versions: tuple[str, ...]
    """Best first; all of them mean the same by the fields that we use."""

    def named(self) -> str:
        """For people: `policy/v1 or policy/v1beta1`."""
        return " or ".join(f"{self.group}/{version}" for version in self.versions)


APIS = {
    "PodDisruptionBudget": Api("policy", "poddisruptionbudgets", ("v1", "v1beta1")),
}
"""https://kubernetes.io/docs/reference/using-api/deprecation-guide/: v1 from 1.21 on, v1beta1 until 1.24."""

Served = Callable[[str, str], Awaitable[set[str]]]
"""Plural names of the resources that the server has in a group and version; empty when it has no such thing."""


class Discovery:
    """Looks now and again; answers from what it saw last."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._versions: dict[str, str] = {}
        self.looked = asyncio.Event()
        """Set once the server has answered for every kind."""

    def version(self, kind: str) -> str | None:
        """The version to use, or None where the cluster has none that we know."""
        return self._versions.get(kind)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self.look()
            except Exception as error:
                logger.warning("discovery: %s; again in a moment", text_of(error))
                await asyncio.sleep(RETRY)
            else:
                await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """Ask the server once."""
        self._versions = {kind: version for kind, api in APIS.items() if (version := await self._best(api)) is not None}
        self.looked.set()

    async def _best(self, api: Api) -> str | None:
        for version in api.versions:
            if api.plural in await self._served(api.group, version):
                return version
        return None
