"""Asking a component whether it is ready, over loopback."""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 2.0


def answers(
    url: str, *, authority: Path | None = None, certificate: tuple[Path, Path] | None = None, token: str = ""
) -> bool:
    """Whether `url` answers 200 now. An https server without `authority` signed its certificate itself.

    `certificate` is a client's certificate and key. Proxies of the environment are not used.
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
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
