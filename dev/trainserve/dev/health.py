"""HTTP requests to a component over loopback, for instance for its readiness."""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 2.0


def get(
    url: str, *, authority: Path | None = None, certificate: tuple[Path, Path] | None = None, token: str = ""
) -> bytes | None:
    """Return the body at `url`, or None unless the response has status 200.

    `authority` verifies the server's certificate; without it, no certificate is verified. `certificate` is the client's
    certificate and key. Proxies of the environment are ignored.
    """
    parts = urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        tls = ssl.create_default_context(cafile=str(authority) if authority else None)
        if not authority:
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        if certificate:
            tls.load_cert_chain(*certificate)
        connection = http.client.HTTPSConnection(parts.netloc, timeout=TIMEOUT_SECONDS, context=tls)
    else:
        connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", parts.path or "/", headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return answer.read() if answer.status == http.client.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
