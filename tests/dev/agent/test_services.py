"""DNS names and Services: which pod a name resolves to, and where a connection goes."""

import http.client
import json
import urllib.request
from collections import Counter
from functools import partial

import pytest

from .conftest import Node, is_ready, until

pytestmark = pytest.mark.cluster

POD_IP = [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
# Answers every request with its pod's name; is ready while /tmp/unready does not exist.
SERVER = """
import http.server, os, socket
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = socket.gethostname().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if self.path == "/unready": open("/tmp/unready", "w")
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer((os.environ["POD_IP"], 8080), Handler).serve_forever()
"""
UNLESS_UNREADY = {"exec": {"command": ["test", "!", "-e", "/tmp/unready"]}, "periodSeconds": 1, "failureThreshold": 1}


def serve(node: Node, name: str, app: str, **more: object) -> None:
    ports = [{"name": "web", "containerPort": 8080}]
    node.run(name, "python3", "-c", SERVER, labels={"app": app}, env=POD_IP, ports=ports, **more)  # type: ignore[arg-type]


def answer(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return str(response.read().decode())
    except OSError:
        return None


def service_url(node: Node, name: str, app: str) -> str:
    ports = [{"port": 80, "targetPort": "web"}]
    node.create("Service", name, spec={"selector": {"app": app}, "ports": ports})
    return f"http://{node.client.get('Service', name)['spec']['clusterIP']}:80"


def test_a_service_spreads_connections_over_its_ready_pods(node: Node) -> None:
    for name in ("spread-a", "spread-b"):
        serve(node, name, "spread", readinessProbe=UNLESS_UNREADY)
    url = service_url(node, "spread", "spread")
    for name in ("spread-a", "spread-b"):
        node.ready(name)
        until(lambda: answer(f"{url}/"), "the service does not answer")
    until(lambda: {answer(url), answer(url)} == {"spread-a", "spread-b"}, "not both pods serve")
    assert Counter(answer(url) for _ in range(20)) == {"spread-a": 10, "spread-b": 10}

    address = url.removeprefix("http://")
    held = http.client.HTTPConnection(address, timeout=10)
    held.request("GET", "/")
    first = held.getresponse().read().decode()
    held.request("GET", "/unready")
    held.getresponse().read()
    node.when(first, lambda pod: not is_ready(pod))
    assert {answer(url) for _ in range(6)} == {"spread-a", "spread-b"} - {first}
    held.request("GET", "/")
    assert held.getresponse().read().decode() == first
    held.close()
    for name in ("spread-a", "spread-b"):
        node.delete(name, grace=0)


def test_a_pod_that_refuses_connections_costs_a_client_nothing(node: Node) -> None:
    serve(node, "works", "half")
    node.run("refuses", "sleep", "1000", labels={"app": "half"}, ports=[{"name": "web", "containerPort": 8080}])
    url = service_url(node, "half", "half")
    node.ready("works")
    node.ready("refuses")
    until(lambda: answer(url), "the service does not answer")
    assert {answer(url) for _ in range(6)} == {"works"}
    for name in ("works", "refuses"):
        node.delete(name, grace=0)


def test_peers_find_each_other_by_name_whichever_starts_first(node: Node) -> None:
    node.create("Service", "gang", spec={"clusterIP": "None", "selector": {"app": "gang"}, "ports": [{"port": 1}]})
    names = ["peer-0.gang", "peer-1.gang", "peer-1.gang.default.svc.cluster.local", "kubernetes.default.svc"]
    find = "until getent hosts $name | head -n 1 | grep .; do sleep 0.05; done"
    script = f"for name in {' '.join(names)}; do {find}; done; exec sleep 1000"
    for rank in (0, 1):
        node.run(
            f"gang-{rank}",
            "sh",
            "-c",
            script,
            labels={"app": "gang"},
            spec={"hostname": f"peer-{rank}", "subdomain": "gang"},
        )
    # They must keep running: the name of a pod that has ended no longer resolves.
    addresses = [node.ready(f"gang-{rank}")["status"]["podIP"] for rank in (0, 1)]

    def found_all(rank: int) -> bool:
        return len(node.log(f"gang-{rank}").splitlines()) == len(names)

    for rank in (0, 1):
        until(partial(found_all, rank), "not every name is found")
        found = [line.split()[0] for line in node.log(f"gang-{rank}").splitlines()]
        assert found[:3] == [addresses[0], addresses[1], addresses[1]]
    for rank in (0, 1):
        node.delete(f"gang-{rank}", grace=0)


def test_a_pod_talks_to_the_api_server_as_its_service_account(node: Node) -> None:
    script = """
import os, ssl, urllib.request
folder = "/var/run/secrets/kubernetes.io/serviceaccount"
context = ssl.create_default_context(cafile=f"{folder}/ca.crt")
url = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}/api"
request = urllib.request.Request(url, headers={"Authorization": "Bearer " + open(f"{folder}/token").read()})
print(urllib.request.urlopen(request, context=context).read().decode())
print(urllib.request.urlopen("https://kubernetes.default.svc/version", context=context).status)
"""
    node.run("in-cluster", "python3", "-c", script)
    assert node.ended("in-cluster")["exitCode"] == 0
    first, _, second = node.log("in-cluster").rpartition("\n")[0].rpartition("\n")
    assert (json.loads(first)["kind"], second) == ("APIVersions", "200")
