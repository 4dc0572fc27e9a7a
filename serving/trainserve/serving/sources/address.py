"""Addresses of models. Parsing accesses neither disk nor network, except for links (`locate`).

/folder/of/a/version, file:///…, pvc://<claim>/…    a folder: a version of the store, or a Triton repository
s3://bucket/prefix, gs://…, az://…                  such a folder in an object store
https://host/…/<version>                            a version of the store (https cannot list folders)
….onnx                                              a lone graph, with its external data beside it
….tar, .tar.gz, .tgz, .zip                          an archive of such a folder
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import unquote, urlsplit

from trainserve.api.pod import PodPath
from trainserve.store import InvalidAddress

OBJECT_STORES = ("s3", "gs", "az")
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")
CLAIM = Path(PodPath.STORE)
"""Mount path of the claim that holds the store, in pods (docs/contracts.md)."""

_VERSION = re.compile(r"(?P<root>.+)/(?P<namespace>[^/]+)/(?P<model>[^/]+)/(?P<version>[1-9][0-9]{0,8})")
_CLAIM_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


@dataclass(frozen=True)
class Address:
    """The address of one model. `parent`/`name` is a path on this machine, or a URL without a trailing slash."""

    text: str
    """The address as given, for messages."""
    place: Literal["local", "https", "object"]
    kind: Literal["folder", "graph", "archive"]
    parent: str
    name: str
    confined: Path | None = None
    """A claim's folder, which symbolic links must not lead out of."""

    @property
    def location(self) -> str:
        """The complete path or URL."""
        return f"{self.parent.rstrip('/')}/{self.name}"

    @property
    def version(self) -> tuple[str, str, str, int] | None:
        """Root, namespace, model and number, if the address has the form of a version's; else None."""
        found = _VERSION.fullmatch(self.location) if self.kind == "folder" else None
        return (found["root"], found["namespace"], found["model"], int(found["version"])) if found else None


def parse(text: str, claim: Path = CLAIM) -> Address:
    """Parse an address; `claim` is the mount path for pvc:// addresses. Raises InvalidAddress."""
    if not text or "\0" in text or "\n" in text:
        raise _refused(text, "a path, pvc://, s3:// or https:// address is needed")
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _local(text, Path(text))
    if scheme == "pvc":
        name, _, path = rest.partition("/")
        if not _CLAIM_NAME.fullmatch(name):
            raise _refused(text, "must be pvc://<claim>/<path>")
        return _local(text, claim / _inner(text, path), claim)
    if scheme not in ("file", "https", *OBJECT_STORES):
        allowed = ", ".join(f"{each}://" for each in ("pvc", *OBJECT_STORES, "https"))
        raise _refused(text, f"must be a path or begin with {allowed}")
    parts = urlsplit(text)
    if "@" in parts.netloc:
        raise InvalidAddress("an address with a user or password is not allowed; credentials come from the environment")
    if parts.query or parts.fragment:
        raise InvalidAddress(f"{text.partition('?')[0]}: ? and # are not allowed in an address of a model")
    if scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise _refused(text, "must be file:///<absolute path>")
        return _local(text, Path(unquote(parts.path)))
    if not parts.netloc:
        raise _refused(text, f"must be {scheme}://<{'host' if scheme == 'https' else 'bucket'}>/<path>")
    inner = _inner(text, unquote(parts.path) if scheme == "https" else parts.path)
    base = f"{scheme}://{parts.netloc}"
    *above, name = inner.parts
    return Address(text, "https" if scheme == "https" else "object", _kind(name), "/".join([base, *above]), name)


def locate(text: str, claim: Path = CLAIM) -> Address:
    """Parse an address, and follow the symbolic link that a local graph may be. Raises InvalidAddress."""
    at = parse(text, claim)
    if at.place != "local" or at.kind != "graph" or at.confined is not None:
        return at
    path = Path(at.location).resolve()
    return replace(at, parent=str(path.parent), name=path.name)


def _local(text: str, path: Path, confined: Path | None = None) -> Address:
    path = path.absolute()
    return Address(text, "local", _kind(path.name), str(path.parent), path.name, confined)


def _kind(name: str) -> Literal["folder", "graph", "archive"]:
    lower = name.lower()
    return "graph" if lower.endswith(".onnx") else "archive" if lower.endswith(ARCHIVES) else "folder"


def _inner(text: str, path: str) -> PurePosixPath:
    """Return a path below a claim, a bucket or a host, and never out of it. Raises InvalidAddress."""
    parts = path.strip("/").split("/")
    if not parts[0]:
        raise _refused(text, "it names no model in it")
    if any(part in ("", ".", "..") or "\\" in part for part in parts):
        raise _refused(text, "'..', '.', '\\' and empty names are not allowed in it")
    return PurePosixPath(*parts)


def _refused(text: str, why: str) -> InvalidAddress:
    return InvalidAddress(f"address {text!r} is not allowed: {why}")
