"""The synchronous Kubernetes client, without a cluster."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from trainserve.dev import kube
from trainserve.dev.kube import ApiError, Client, Object


def client_of(port: int, folder: Path) -> Client:
    path = folder / "a:b" / "kubeconfig"
    path.parent.mkdir(exist_ok=True)
    content: Object = {"apiVersion": "v1", "kind": "Config", "current-context": "a"}
    content["clusters"] = [{"name": "a", "cluster": {"server": f"http://127.0.0.1:{port}"}}]
    content["users"] = [{"name": "a", "user": {"token": "secret"}}]
    content["contexts"] = [{"name": "a", "context": {"cluster": "a", "user": "a"}}]
    path.write_text(json.dumps(content))
    return Client(path, seconds=5)


class Handler(BaseHTTPRequestHandler):
    """Answer a GET with its own request line, except for a pod that does not exist and one whose answer is cut off."""

    def do_GET(self) -> None:
        status, body = 200, json.dumps({"asked": self.path, "as": self.headers["Authorization"]})
        if self.path.endswith("/gone"):
            status, body = 404, json.dumps({"status": "Failure", "reason": "NotFound", "message": "no pod"})
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) * (2 if self.path.endswith("/half") else 1)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with client_of(server.server_port, tmp_path) as made:
            yield made
        server.shutdown()


def test_an_object_is_asked_for_where_it_is_and_not_through_a_proxy(client: Client) -> None:
    asked = {"asked": "/api/v1/namespaces/default/pods/there", "as": "Bearer secret"}
    assert client.get("Pod", "there") == asked
    assert client.get("Node", "there", "ignored")["asked"] == "/api/v1/nodes/there"
    assert client.get("Lease", "x", "other")["asked"] == "/apis/coordination.k8s.io/v1/namespaces/other/leases/x"


def test_a_refusal_has_the_servers_words(client: Client) -> None:
    with pytest.raises(ApiError, match="no pod") as refused:
        client.get("Pod", "gone")
    assert (refused.value.status, refused.value.reason) == (404, "NotFound")
    assert client.find("Pod", "gone") is None


def test_a_server_that_is_away_or_goes_away_is_a_connection_error(client: Client, tmp_path: Path) -> None:
    with pytest.raises(ConnectionError):
        client.get("Pod", "half")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with client_of(nobody.getsockname()[1], tmp_path) as away, pytest.raises(ConnectionError):
            away.get("Pod", "any")


def test_kinds_without_namespaces_are_known() -> None:
    assert set(kube.KINDS) >= kube.GLOBAL
