"""What the operator writes to the API server, seen in the one place where every write goes out."""

from __future__ import annotations

import json
import logging
import re
import ssl
from collections.abc import Callable, Mapping
from typing import NamedTuple

import httpx2

from trainserve.operator.blocked import NotHolding
from trainserve.operator.clock import ServerClock
from trainserve.operator.logs import about

logger = logging.getLogger(__name__)

NO_ANSWER = "none"
"""Stands for the status code of a write that was not answered."""
APPLY = "application/apply-patch+yaml"
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_PLACE = re.compile(r"/namespaces/([^/]+)/([^/]+)(?:/([^/]+)(?:/([^/]+))?)?$")
"""How the path of a request ends: namespace, plural, name, subresource. All that we write has a namespace."""


class Write(NamedTuple):
    """One write. `name` is None when the object is being created: then it stands in the body alone."""

    verb: str
    kind: str
    namespace: str
    name: str | None
    status: bool
    """Whether it is of the status alone."""


Written = Callable[[Write, str], None]
"""Is told of each write with its HTTP status code, or NO_ANSWER."""


def write_of(method: str, path: str, content_type: str, kinds: Mapping[str, str]) -> Write | None:
    """The write that a request is; None for one that reads. `kinds` are ours by their plurals."""
    place = _PLACE.search(path)
    if method not in VERBS or place is None:
        return None
    namespace, plural, name, subresource = place.groups()
    verb = "apply" if method == "PATCH" and content_type == APPLY else VERBS[method]
    return Write(verb, kinds.get(plural, plural), namespace, name, subresource == "status")


LEASE = "Lease"
"""Kind of what says who may write: it is written by whoever may not."""


class Transport(httpx2.AsyncHTTPTransport):
    """The HTTP client's own way to the server, which tells what was written. It goes through no proxy, like Kopf's.

    `may_write` is asked last, when all is ready to be sent: a process may be stopped at any time before. Stopped after
    that, it sends what its resourceVersion makes void.
    """

    def __init__(
        self,
        kinds: Mapping[str, str],
        written: Written,
        may_write: Callable[[], bool],
        clock: ServerClock,
        verify: ssl.SSLContext | bool,
    ) -> None:
        super().__init__(verify=verify)
        self._kinds, self._written, self._may_write, self._clock = kinds, written, may_write, clock

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it; once it is answered, or is not, tell. Raises NotHolding."""
        write = write_of(request.method, request.url.path, request.headers.get("Content-Type", ""), self._kinds)
        if write is None:
            return await self._send(request)
        if write.kind != LEASE and not self._may_write():
            raise NotHolding(f"{write.verb} {write.kind}: the lease was not renewed in time")
        code = NO_ANSWER
        try:
            response = await self._send(request)
            code = str(response.status_code)
            return response
        finally:
            self._written(write, code)
            if logger.isEnabledFor(logging.DEBUG):
                _log(write, code, request.content)

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        asked = self._clock.elapsed()
        response = await super().handle_async_request(request)
        self._clock.hear(response.headers.get("Date", ""), asked)
        return response


def _log(write: Write, code: str, body: bytes) -> None:
    name = write.name or json.loads(body)["metadata"]["name"]
    what = f"{write.kind} status" if write.status else write.kind
    extra = about(write.kind, write.namespace, name) | {"verb": write.verb, "code": code}
    logger.debug("%s %s %s/%s: %s", write.verb, what, write.namespace, name, code, extra=extra)
