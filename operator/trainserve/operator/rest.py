"""Requests with plain JSON objects to one API server, over the REST layer of the official client (kubernetes.aio).

The client's typed and dynamic layers build an object from every response, which would cost CPU time and memory without
any benefit here.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import urlencode

import yaml
from aiohttp import ClientTimeout
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject, RESTResponse
from kubernetes.aio.config import load_incluster_config
from kubernetes.aio.config.kube_config import KubeConfigLoader

from trainserve.operator.api_error import refusal
from trainserve.operator.objects import Object

JSON = "application/json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
CONNECTIONS = 32
"""Maximum number of connections of one client."""
TIMEOUT = ClientTimeout(total=None, connect=10.0, sock_read=10.0)
"""Seconds to establish a connection, and between two parts of a response."""


async def configuration(kubeconfig: str | os.PathLike[str] | None) -> Configuration:
    """Return the server and the credentials of a kubeconfig's current context, or of the pod's own ServiceAccount if
    `kubeconfig` is None. Raises ConfigException, OSError."""
    # Ignore proxies of the environment, as Kopf does.
    found = Configuration(connection_pool_maxsize=CONNECTIONS, client_session_kwargs={"trust_env": False})
    if kubeconfig is None:
        load_incluster_config(found)
    else:
        await _loader(Path(kubeconfig)).load_and_set(found)
    return found


def _loader(kubeconfig: Path) -> KubeConfigLoader:
    """Return a loader for one file. `load_kube_config` would treat a colon in its path as a separator of two paths."""
    path = kubeconfig.expanduser().absolute()
    return KubeConfigLoader(yaml.safe_load(path.read_text(encoding="utf-8")), config_base_path=str(path.parent))


async def bearer(config: Configuration) -> str | None:
    """Return the value of the `Authorization` header, or None; a ServiceAccount's token is read again every minute."""
    found = await config.get_api_key_with_prefix("BearerToken")
    return found.strip() if found else None


class Requests:
    """Sender of requests to one API server with one user's credentials."""

    def __init__(self, config: Configuration, user_agent: str) -> None:
        self._rest, self._config, self._server = RESTClientObject(config), config, config.host
        self._user_agent = user_agent

    async def send(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        query: dict[str, str] | None = None,
        content_type: str = JSON,
    ) -> Object:
        """Send a request and return the object in the response. Raises Refused, aiohttp.ClientError, TimeoutError."""
        answer = await self.open(method, path, body, query, content_type)
        read = await answer.read()
        if answer.status >= 400:
            raise refusal(answer.status, read)
        found: Object = json.loads(read)
        return found

    async def open(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        query: dict[str, str] | None = None,
        content_type: str = JSON,
        limits: ClientTimeout = TIMEOUT,
    ) -> RESTResponse:
        """Send a request and return the response unread, whatever its status. Raises aiohttp.ClientError, TimeoutError.

        Every request goes through this method.
        """
        headers = {"Accept": JSON, "Content-Type": content_type, "User-Agent": self._user_agent}
        if token := await bearer(self._config):
            headers["Authorization"] = token
        url = f"{self._server}{path}?{urlencode(query)}" if query else f"{self._server}{path}"
        answer: RESTResponse = await self._rest.request(method, url, headers, body, _request_timeout=limits)
        return answer

    async def close(self) -> None:
        """Close the connections."""
        await self._rest.close()
