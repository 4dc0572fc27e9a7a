"""Leader election: the replica that holds one `coordination.k8s.io` Lease acts, by the rules of client-go.

A replica that cannot renew in time stops acting at once. It resumes if it still holds the Lease afterwards (the API
server was unreachable for all replicas), and ends if another one holds it or has held it, because its state is stale.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from datetime import UTC, datetime
from typing import Any, Protocol

from trainserve.operator.logs import text_of

logger = logging.getLogger(__name__)

NAME = "trainserve-operator"
DURATION = 15.0
"""Seconds after its last renewal for which no other replica may take the Lease."""
RENEW_EVERY = 4.0
RENEW_DEADLINE = 10.0
"""Seconds without a renewal after which the holder stops acting; less than DURATION, since clocks run at different
speeds."""
RETRY_EVERY = 1.0


class LeaseLost(Exception):
    """Another replica has taken the Lease."""


class LeaseApi(Protocol):
    """The part of the client that the Lease uses."""

    async def get_lease(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Return the Lease, or None if it does not exist."""

    async def put_lease(self, lease: dict[str, Any]) -> bool:
        """Create or replace the Lease; return False on a conflict."""


def identity() -> str:
    """Return `<host>_<pid>`, so that a container restarted in its pod is the same holder again."""
    return f"{socket.gethostname()}_{os.getpid()}"


class Lease:
    """The Lease and this replica's hold on it, which `run` keeps; `held` is set while this replica may act."""

    def __init__(self, api: LeaseApi, namespace: str, holder: str | None = None) -> None:
        self._api, self._namespace = api, namespace
        self.holder = holder or identity()
        self.held = asyncio.Event()
        self.lost = asyncio.Event()
        self._renewed = 0.0
        self._seen: tuple[str | None, float] = (None, 0.0)
        """The resourceVersion under another holder and when it was first seen here, on the monotonic clock: clocks of
        other machines are not trusted."""

    async def run(self) -> None:
        """Acquire the Lease, then renew it until cancelled. Raises LeaseLost."""
        reachable = True
        while True:
            started = time.monotonic()
            try:
                async with asyncio.timeout(RENEW_DEADLINE / 2):
                    mine = await self._try()
            except Exception as error:
                level = logging.WARNING if reachable else logging.DEBUG
                logger.log(level, "lease %s/%s: %s", self._namespace, NAME, text_of(error))
                reachable, mine = False, None
            else:
                reachable = True
            if mine:
                self._renewed = started
                if not self.held.is_set():
                    logger.info("%s holds the lease %s/%s", self.holder, self._namespace, NAME)
                self.held.set()
                self.lost.clear()
            elif mine is False and self._renewed:
                self._lose()
                raise LeaseLost(f"lease {self._namespace}/{NAME} was taken from {self.holder}")
            elif time.monotonic() - self._renewed > RENEW_DEADLINE:
                self._lose()
            await asyncio.sleep(RENEW_EVERY if mine else RETRY_EVERY)

    def is_current(self) -> bool:
        """Return whether this replica may write now. A process that was suspended learns here, before its tasks run,
        that its hold has expired."""
        return self.held.is_set() and time.monotonic() - self._renewed <= RENEW_DEADLINE

    async def release(self) -> None:
        """Release the Lease, so that the next replica can take it at once."""
        lease = await self._api.get_lease(self._namespace, NAME)
        if self.held.is_set() and lease is not None and lease["spec"].get("holderIdentity") == self.holder:
            self._lose()
            lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
            await self._api.put_lease(lease)

    def _lose(self) -> None:
        self.held.clear()
        self.lost.set()

    async def _try(self) -> bool | None:
        """Acquire or renew once; return whether this replica holds the Lease, or None after a conflict."""
        lease = await self._api.get_lease(self._namespace, NAME)
        if lease is None:
            return await self._api.put_lease(self._renewal({"name": NAME, "namespace": self._namespace}, {})) or None
        spec = lease.get("spec") or {}
        other = spec.get("holderIdentity") or ""
        if other != self.holder and self._renewed:
            return False
        if other not in ("", self.holder) and not self._expired(lease) and not _dead_here(other):
            return False
        return await self._api.put_lease(self._renewal(lease["metadata"], spec)) or None

    def _renewal(self, metadata: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
        instant = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        taken = spec.get("holderIdentity") != self.holder
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": self.holder,
                "leaseDurationSeconds": int(DURATION),
                "acquireTime": instant if taken else spec.get("acquireTime", instant),
                "renewTime": instant,
                "leaseTransitions": int(spec.get("leaseTransitions") or 0) + taken,
            },
        }

    def _expired(self, lease: dict[str, Any]) -> bool:
        revision, now = lease["metadata"]["resourceVersion"], time.monotonic()
        if self._seen[0] != revision:
            self._seen = (revision, now)
        return now - self._seen[1] > DURATION


def _dead_here(holder: str) -> bool:
    """Return whether the holder was a process of this host that no longer exists, so that waiting is pointless."""
    host, _, pid = holder.rpartition("_")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
