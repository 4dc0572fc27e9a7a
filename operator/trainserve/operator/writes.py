"""Observation of the operator's writes to the API server, in the one place that sends all of them."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from aiohttp import ClientTimeout
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTResponse

from trainserve.operator.blocked import NotHolding
from trainserve.operator.clock import ServerClock
from trainserve.operator.logs import about
from trainserve.operator.objects import Object
from trainserve.operator.rest import APPLY, JSON, TIMEOUT, Requests

logger = logging.getLogger(__name__)

NO_ANSWER = "none"
"""Takes the place of the HTTP status code of a write without a response."""
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_PLACE = re.compile(r"/namespaces/([^/]+)/([^/]+)(?:/([^/]+)(?:/([^/]+))?)?$")
"""End of a request's path: namespace, plural, name, subresource. Every object that the operator writes has a namespace.
"""


class Write(NamedTuple):
    """One write. `name` is None for a creation, whose name stands only in the body."""

    verb: str
    kind: str
    namespace: str
    name: str | None
    status: bool
    """Whether only the status is written."""


Written = Callable[[Write, str], None]
"""Called for each write, with its HTTP status code or NO_ANSWER."""


def write_of(method: str, path: str, content_type: str, kinds: Mapping[str, str]) -> Write | None:
    """Return the write that a request makes, or None if it only reads. `kinds` maps plurals to the operator's kinds."""
    place = _PLACE.search(path)
    if method not in VERBS or place is None:
        return None
    namespace, plural, name, subresource = place.groups()
    verb = "apply" if method == "PATCH" and content_type == APPLY else VERBS[method]
    return Write(verb, kinds.get(plural, plural), namespace, name, subresource == "status")


LEASE = "Lease"
"""Kind of the object that decides which replica may write; a replica that may not write must still write this one."""


class ToldRequests(Requests):
    """Requests that report each write to `written` and read the server's clock from each response.

    `may_write` is called last, when the request is ready to be sent, because the process may be suspended at any time
    before. If it is suspended after that, the resourceVersion in the request makes the server refuse an outdated write.
    """

    def __init__(
        self,
        config: Configuration,
        user_agent: str,
        kinds: Mapping[str, str],
        written: Written,
        may_write: Callable[[], bool],
        clock: ServerClock,
    ) -> None:
        super().__init__(config, user_agent)
        self._kinds, self._written, self._may_write, self._clock = kinds, written, may_write, clock

    async def open(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        query: dict[str, str] | None = None,
        content_type: str = JSON,
        limits: ClientTimeout = TIMEOUT,
    ) -> RESTResponse:
        """Send a request and report a write, whether or not it gets a response.

        Raises NotHolding, before sending, if the write is not allowed.
        """
        write = write_of(method, path, content_type, self._kinds)
        if write is not None and write.kind != LEASE and not self._may_write():
            raise NotHolding(f"{write.verb} {write.kind}: the lease was not renewed in time")
        code, asked = NO_ANSWER, self._clock.elapsed()
        try:
            answer = await super().open(method, path, body, query, content_type, limits)
            code = str(answer.status)
            self._clock.hear(answer.headers.get("Date", ""), asked)
            return answer
        finally:
            if write is not None:
                self._written(write, code)
                if logger.isEnabledFor(logging.DEBUG):
                    _log(write, code, body)


def _log(write: Write, code: str, body: Object | None) -> None:
    name = write.name or (body or {})["metadata"]["name"]
    what = f"{write.kind} status" if write.status else write.kind
    extra = about(write.kind, write.namespace, name) | {"verb": write.verb, "code": code}
    logger.debug("%s %s %s/%s: %s", write.verb, what, write.namespace, name, code, extra=extra)
