"""HTTP messages of the guard: a client's request, the forwarded request, and the guard's own answers."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from http import HTTPStatus

Header = tuple[bytes, bytes]

BODY_LIMIT = 256 << 20
"""Maximum bytes of a body, decompressed: enough for 64 images of 1000 x 1000 pixels."""
TARGET_LIMIT = 8000
HEADER_LIMIT = 8000
HEAD_LIMIT = 64 << 10
"""Maximum bytes of a target, of a header's name or value, and of all headers: beyond them, the server would close the
connection without an answer."""

LENGTH = b"inference-header-content-length"
# Hop-by-hop headers (RFC 9110, 7.6.1), and those that the guard writes itself.
_OWN = frozenset(
    b"connection keep-alive proxy-connection te trailer transfer-encoding upgrade http2-settings expect "
    b"content-length content-type content-encoding".split()
)


class Refused(Exception):
    """The guard refuses a request; `reason` is for the client."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(slots=True)
class Request:
    """A client's request; `body` is filled as it arrives."""

    method: bytes
    target: bytes
    headers: list[Header]
    keep_alive: bool
    body: bytearray = field(default_factory=bytearray)
    refused: Refused | None = None

    def header(self, name: bytes) -> bytes | None:
        """Return the value of a header by its lower-case name, None if absent. Raises Refused if there are several."""
        values = [value for key, value in self.headers if key.lower() == name]
        if len(values) > 1:
            raise Refused(HTTPStatus.BAD_REQUEST, f"{len(values)} headers {name.decode()}; one is allowed")
        return values[0] if values else None

    @property
    def path(self) -> bytes:
        """The target without its query."""
        return self.target.partition(b"?")[0]

    def unpack(self) -> None:
        """Decompress the body. Raises Refused."""
        encoding = (self.header(b"content-encoding") or b"identity").strip().lower()
        if encoding == b"identity":
            return
        if encoding not in (b"gzip", b"x-gzip", b"deflate"):
            words = f"Content-Encoding {encoding.decode('latin-1')!r} is not one of gzip, deflate"
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, words)
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, as its first bytes say
        try:
            unpacked = unpacker.decompress(self.body, BODY_LIMIT + 1)
        except zlib.error as error:
            raise Refused(HTTPStatus.BAD_REQUEST, f"the body is not {encoding.decode()}: {error}") from None
        if len(unpacked) > BODY_LIMIT:
            raise too_large()
        if not unpacker.eof or unpacker.unused_data:
            raise Refused(HTTPStatus.BAD_REQUEST, f"the body is not one whole {encoding.decode()} stream")
        self.body = bytearray(unpacked)

    def encode(self) -> bytes:
        """Encode the request for the server.

        The body gets one of the two content types that the server expects, whichever the client named: curl's default,
        that of a form, is neither.
        """
        lines = [b"%s %s HTTP/1.1" % (self.method, self.target)]
        lines += [b"%s: %s" % header for header in self.headers if header[0].lower() not in _OWN]
        if self.method == b"POST":
            binary = self.header(LENGTH) is not None
            lines.append(b"Content-Type: " + (b"application/octet-stream" if binary else b"application/json"))
            lines.append(b"Content-Length: %d" % len(self.body))
        return b"\r\n".join([*lines, b"", b""]) + self.body


def too_large() -> Refused:
    """Return the refusal of a body over the limit."""
    words = f"the body is larger than {BODY_LIMIT} bytes ({BODY_LIMIT >> 20} MiB)"
    return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, words)


def answer(request: Request, refused: Refused, *, close: bool) -> bytes:
    """Return the response to a refused request in the form of Triton's errors, without a body for HEAD."""
    body = json.dumps({"error": refused.reason}).encode()
    lines = [f"HTTP/1.1 {refused.status.value} {refused.status.phrase}", "Content-Type: application/json"]
    if refused.status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, POST")
    if close:
        lines.append("Connection: close")
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (b"" if request.method == b"HEAD" else body)


def unavailable(words: str) -> Refused:
    """Return the refusal of a request that the server cannot answer."""
    return Refused(HTTPStatus.SERVICE_UNAVAILABLE, f"the server is {words}; try again")
