"""Requests to an API server, and its error answers."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import certifi
import pytest
from aiohttp import web
from kubernetes.aio.config import incluster_config

from trainserve.operator import client, rest
from trainserve.operator.api_error import ApiError, Refused, refusal
from trainserve.operator.objects import Object
from trainserve.operator.resources import RESOURCES, Resource

Answer = Callable[[web.Request], web.Response]
Server = Callable[[Answer], AbstractAsyncContextManager[rest.Requests]]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def requests_to(port: int, folder: Path) -> rest.Requests:
    path = folder / "a:b" / "kubeconfig"
    path.parent.mkdir()
    cluster = {"server": f"http://127.0.0.1:{port}"}
    content: Object = {"apiVersion": "v1", "kind": "Config", "current-context": "a"}
    content["clusters"] = [{"name": "a", "cluster": cluster}]
    content["users"] = [{"name": "a", "user": {"token": "secret"}}]
    content["contexts"] = [{"name": "a", "context": {"cluster": "a", "user": "a"}}]
    path.write_text(json.dumps(content))
    return rest.Requests(await rest.configuration(path), "tests")


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """Start an HTTP server that answers every request by `answer`, until the block ends."""

    @asynccontextmanager
    async def serve(answer: Answer) -> AsyncIterator[rest.Requests]:
        async def handle(request: web.Request) -> web.Response:
            await request.read()
            return answer(request)

        app, port = web.Application(), free_port()
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        requests = await requests_to(port, tmp_path)
        try:
            yield requests
        finally:
            await requests.close()
            await runner.cleanup()

    return serve


@pytest.mark.parametrize(
    ("path", "written"),
    [
        (RESOURCES["Pod"].path(None), "/api/v1/pods"),
        (RESOURCES["Pod"].path("a", "b", "status"), "/api/v1/namespaces/a/pods/b/status"),
        (RESOURCES["TrainJob"].path("a"), "/apis/trainserve.io/v1alpha1/namespaces/a/trainjobs"),
        (Resource("", "v1", "Node", "nodes").path(None, "n"), "/api/v1/nodes/n"),
        (RESOURCES["Pod"].path("a", "../services/b?c"), "/api/v1/namespaces/a/pods/..%2Fservices%2Fb%3Fc"),
    ],
)
def test_the_path_of_an_object_names_it_and_no_other(path: str, written: str) -> None:
    assert path == written


def test_a_refusal_of_the_api_server_has_its_words() -> None:
    status = {"status": "Failure", "reason": "NotFound", "message": 'pods "b" not found', "code": 404}
    for said in ({"kind": "Status", **status}, status):  # one of the API server's filters omits `kind`
        found = refusal(404, json.dumps(said).encode())
        assert isinstance(found, ApiError)
        assert (found.status, found.reason, str(found)) == (404, "NotFound", 'pods "b" not found')


@pytest.mark.parametrize(
    "body",
    [b"404 page not found\n", b'{"kind": "Pod", "status": {"phase": "Failed"}}', b"[1]", b"", b"\xff", b"[" * 100_000],
)
def test_what_is_no_status_is_not_the_api_servers_word_about_the_object(body: bytes) -> None:
    found = refusal(404, body)
    assert type(found) is Refused
    assert (found.status, str(found)[:15]) == (404, "HTTP status 404")


async def test_a_request_has_the_credentials_and_goes_through_no_proxy_of_the_environment(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def answer(request: web.Request) -> web.Response:
        seen.append((request.method, request.path_qs, *map(request.headers.get, ("Authorization", "Content-Type"))))
        return web.json_response({"kind": "Pod"})

    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    async with server(answer) as requests:
        query = {"fieldManager": "a b"}
        assert await requests.send("PATCH", "/api/v1/pods/a", {"a": 1}, query, rest.APPLY) == {"kind": "Pod"}
    assert seen == [("PATCH", "/api/v1/pods/a?fieldManager=a+b", "Bearer secret", rest.APPLY)]


async def test_a_refused_request_raises_and_the_connection_serves_the_next(server: Server) -> None:
    ports: list[Any] = []

    def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        ports.append(request.transport.get_extra_info("peername")[1])
        return web.Response(status=503, text="not now")

    async with server(answer) as requests:
        for _ in range(2):
            with pytest.raises(Refused, match="HTTP status 503: not now"):
                await requests.send("POST", "/api/v1/pods", {})
    assert ports[0] == ports[1]


async def test_nobody_there_is_an_error_of_the_connection(tmp_path: Path) -> None:
    requests = await requests_to(free_port(), tmp_path)
    with pytest.raises(aiohttp.ClientConnectorError):
        await requests.send("GET", "/version")
    await requests.close()


async def test_in_a_pod_its_service_accounts_token_is_used_and_kopf_reads_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("first\n")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", certifi.where())
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    config = await client.kube_config()
    session = await client.kopf_session(config)
    assert (session.server, await rest.bearer(config)) == ("https://[::1]:443", "bearer first")
    assert session.expiration is not None
    assert session.aiohttp_session.headers["Authorization"] == "bearer first"
    await session.aiohttp_session.close()
