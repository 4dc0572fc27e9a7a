"""Reading the store: list models and versions, resolve one, and read single files of one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainserve.store import names
from trainserve.store.errors import DigestMismatch, ModelNotFound, StoreError, VersionNotFound
from trainserve.store.manifest import Manifest, digest
from trainserve.store.names import MANIFEST
from trainserve.store.places import Place, place
from trainserve.store.survey import newest_first, survey, told


@dataclass(frozen=True)
class Resolved:
    """A published version: public address, number and digest (`sha256:<hex>` of its manifest.json).

    `passed_over`: why folders with larger numbers are not versions.
    """

    uri: str
    version: int
    digest: str
    passed_over: tuple[str, ...] = ()


def address(root: str, namespace: str, model: str, version: int) -> str:
    """Return a version's address below `root`, which is the public root if others read the address."""
    return f"{root.rstrip('/')}/{namespace}/{model}/{version}"


def models(root: str | Path, namespace: str) -> list[str]:
    """Return the sorted names of the models in `namespace` with at least one published version."""
    names.label("namespace", namespace)
    at = place(root)
    try:
        there = [name for name in at.list(namespace) if names.is_label(name)]
    except OSError as error:
        raise StoreError.of("list", f"{root}/{namespace}", error) from error
    return [name for name in there if next(newest_first(at, f"{namespace}/{name}", {}), None) is not None]


def versions(root: str | Path, namespace: str, model: str) -> list[int]:
    """Return published versions, ascending: numbered folders whose manifest.json is of that version."""
    return sorted(survey(place(root), _folder(namespace, model)).published)


def resolve(
    root: str | Path, namespace: str, model: str, version: int | None = None, public_root: str | None = None
) -> Resolved:
    """Resolve the given `version`, by default the newest.

    Raises ModelNotFound or VersionNotFound naming what exists, StoreError if it cannot be read, VersionMismatch if its
    manifest is of another version.
    """
    at, folder = place(root), _folder(namespace, model)
    passed_over: dict[int, str] = {}
    if version is None:
        found = next(newest_first(at, folder, passed_over), None)
        number, content = (found.number, found.content) if found else (0, b"")
    else:
        number, content = version, _named(at, folder, version)
    if not content:
        if there := versions(root, namespace, model):
            raise VersionNotFound(_no_version(model, number, there))
        others = ", ".join(models(root, namespace)) or "none"
        raise ModelNotFound(f"model {model}: nothing is published in namespace {namespace}; models there: {others}")
    uri = address(public_root or str(root), namespace, model, number)
    return Resolved(uri, number, digest(content), told(passed_over, number))


def _named(at: Place, folder: str, number: int) -> bytes:
    """Return the bytes of a version's manifest; empty if it does not exist."""
    path = f"{folder}/{number}/{MANIFEST}"
    try:
        if not at.exists(path):
            return b""
    except OSError as error:
        raise StoreError.of("read", path, error) from error
    return _checked_manifest(at, f"{folder}/{number}")[1]


def manifest(root: str | Path, namespace: str, model: str, version: int) -> Manifest:
    """Return a version's manifest. Raises VersionNotFound, or StoreError if it cannot be read."""
    at, folder = place(root), _version_folder(root, namespace, model, version)
    return _checked_manifest(at, folder)[0]


def content(root: str | Path, namespace: str, model: str, version: int, name: str) -> bytes | None:
    """Return the verified content of a version's file `name`; None if the version has no such file.

    Raises DigestMismatch, VersionNotFound, or StoreError.
    """
    at, folder = place(root), _version_folder(root, namespace, model, version)
    found, _ = _checked_manifest(at, folder)
    if name not in found.files:
        return None
    read = b"".join(_chunks(at, f"{folder}/{name}"))
    if (seen := hashlib.sha256(read).hexdigest()) != found.files[name].sha256:
        raise DigestMismatch(f"{folder}/{name}", found.files[name].sha256, seen)
    return read


def _folder(namespace: str, model: str) -> str:
    return f"{names.label('namespace', namespace)}/{names.label('model', model)}"


def _version_folder(root: str | Path, namespace: str, model: str, version: int) -> str:
    folder = f"{_folder(namespace, model)}/{int(version)}"
    try:
        exists = place(root).exists(f"{folder}/{MANIFEST}")
    except OSError as error:
        raise StoreError.of("read", f"{folder}/{MANIFEST}", error) from error
    if not exists:
        raise VersionNotFound(_no_version(model, version, versions(root, namespace, model)))
    return folder


def _no_version(model: str, version: int, there: list[int]) -> str:
    return f"model {model}: version {version} does not exist; published: {', '.join(map(str, there)) or 'none'}"


def _manifest_bytes(at: Place, folder: str) -> bytes:
    try:
        return at.read(f"{folder}/{MANIFEST}")
    except OSError as error:
        raise StoreError.of("read", f"{folder}/{MANIFEST}", error) from error


def _checked_manifest(at: Place, folder: str) -> tuple[Manifest, bytes]:
    content = _manifest_bytes(at, folder)
    manifest, (namespace, model, number) = Manifest.from_bytes(content, f"{folder}/{MANIFEST}"), folder.split("/")
    manifest.expect(namespace, model, int(number), f"{folder}/{MANIFEST}")
    return manifest, content


def _chunks(at: Place, path: str) -> Iterator[bytes]:
    try:
        yield from at.chunks(path)
    except OSError as error:
        raise StoreError.of("read", path, error) from error
