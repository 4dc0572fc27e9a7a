"""Plain JSON objects to and from one API server, over the REST layer of the official client (kubernetes.aio).

Its typed and dynamic layers build an object of every answer, which costs the operator CPU time and memory for nothing.
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
"""Connections of one client at most."""
TIMEOUT = ClientTimeout(total=None, connect=10.0, sock_read=10.0)
"""Seconds for a connection, and between two parts of an answer."""


async def configuration(kubeconfig: str | os.PathLike[str] | None) -> Configuration:
    """The server and the credentials of a kubeconfig's current context; of the pod's own ServiceAccount where
    `kubeconfig` is None. Raises ConfigException, OSError."""
    # Like Kopf's, its requests go through no proxy of the environment.
    found = Configuration(connection_pool_maxsize=CONNECTIONS, client_session_kwargs={"trust_env": False})
    if kubeconfig is None:
        load_incluster_config(found)
    else:
        await _loader(Path(kubeconfig)).load_and_set(found)
    return found


def _loader(kubeconfig: Path) -> KubeConfigLoader:
    """Not load_kube_config's, which takes a colon in a path for what stands between two paths."""
    path = kubeconfig.expanduser().absolute()
    return KubeConfigLoader(yaml.safe_load(path.read_text(encoding="utf-8")), config_base_path=str(path.parent))


async def bearer(config: Configuration) -> str | None:
    """The header `Authorization`, if any; a ServiceAccount's token is read again every minute."""
    found = await config.get_api_key_with_prefix("BearerToken")
    return found.strip() if found else None


class Requests:
    """Requests to one API server with one user's credentials."""

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
        """The answer's object. Raises Refused, aiohttp.ClientError, TimeoutError."""
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
        """The answer, not read yet, whatever its status; every request goes out here. Raises aiohttp.ClientError,
        TimeoutError."""
        headers = {"Accept": JSON, "Content-Type": content_type, "User-Agent": self._user_agent}
        if token := await bearer(self._config):
            headers["Authorization"] = token
        url = f"{self._server}{path}?{urlencode(query)}" if query else f"{self._server}{path}"
        answer: RESTResponse = await self._rest.request(method, url, headers, body, _request_timeout=limits)
        return answer

    async def close(self) -> None:
        """Close the connections."""
        await self._rest.close()
