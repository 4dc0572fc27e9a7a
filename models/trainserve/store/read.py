"""Reading the store: which models and versions exist, which one is meant, and fetching one with every byte checked."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainserve.store import names
from trainserve.store.errors import DigestMismatch, ModelNotFound, StoreError, VersionNotFound
from trainserve.store.manifest import Manifest, digest
from trainserve.store.names import MANIFEST
from trainserve.store.places import Place, place


@dataclass(frozen=True)
class Resolved:
    """One published version: its public address, number and digest (`sha256:<hex>` of its manifest.json)."""

    uri: str
    version: int
    digest: str


def address(root: str, namespace: str, model: str, version: int) -> str:
    """A version's address below `root`, which is the public root where others shall read it."""
    return f"{root.rstrip('/')}/{namespace}/{model}/{version}"


def models(root: str | Path, namespace: str) -> list[str]:
    """Names with at least one published version in the namespace, sorted."""
    names.label("namespace", namespace)
    try:
        return [
            name for name in place(root).list(namespace) if names.is_label(name) and versions(root, namespace, name)
        ]
    except OSError as error:
        raise StoreError.of("list", f"{root}/{namespace}", error) from error


def versions(root: str | Path, namespace: str, model: str) -> list[int]:
    """Published versions, ascending; folders without a manifest.json do not count."""
    return published(place(root), _folder(namespace, model))


def published(at: Place, folder: str) -> list[int]:
    """The versions in a model's folder of an opened place, ascending."""
    try:
        numbers = [number for name in at.list(folder) if (number := names.version(name))]
        return sorted(number for number in numbers if at.exists(f"{folder}/{number}/{MANIFEST}"))
    except OSError as error:
        raise StoreError.of("list", folder, error) from error


def resolve(
    root: str | Path, namespace: str, model: str, version: int | None = None, public_root: str | None = None
) -> Resolved:
    """The newest version, or the one named. Raises ModelNotFound or VersionNotFound, saying what there is."""
    found = versions(root, namespace, model)
    if not found:
        others = ", ".join(models(root, namespace)) or "none"
        raise ModelNotFound(f"model {model}: nothing is published in namespace {namespace}; models there: {others}")
    number = found[-1] if version is None else version
    if number not in found:
        raise VersionNotFound(_no_version(model, number, found))
    content = _manifest_bytes(place(root), f"{_folder(namespace, model)}/{number}")
    return Resolved(address(public_root or str(root), namespace, model, number), number, digest(content))


def manifest(root: str | Path, namespace: str, model: str, version: int) -> Manifest:
    """A version's manifest. Raises VersionNotFound, or StoreError when it is not readable."""
    at, folder = place(root), _version_folder(root, namespace, model, version)
    return Manifest.from_bytes(_manifest_bytes(at, folder), f"{folder}/{MANIFEST}")


def content(root: str | Path, namespace: str, model: str, version: int, name: str) -> bytes | None:
    """One file of a version, every byte checked; None where the version has no such file.

    Raises DigestMismatch, VersionNotFound, or StoreError.
    """
    at, folder = place(root), _version_folder(root, namespace, model, version)
    found, _ = _checked_manifest(at, folder, None)
    if name not in found.files:
        return None
    read = b"".join(_chunks(at, f"{folder}/{name}"))
    if (seen := hashlib.sha256(read).hexdigest()) != found.files[name].sha256:
        raise DigestMismatch(f"{folder}/{name}", found.files[name].sha256, seen)
    return read


def verify(root: str | Path, namespace: str, model: str, version: int, digest: str | None = None) -> Manifest:
    """Read every byte of a version and compare it with its manifest, and that with `digest` when given.

    Raises DigestMismatch naming the file and both digests, VersionNotFound, or StoreError.
    """
    at, folder = place(root), _version_folder(root, namespace, model, version)
    found, _ = _checked_manifest(at, folder, digest)
    for name, entry in found.files.items():
        _check_file(at, f"{folder}/{name}", entry.sha256, None)
    return found


def fetch(
    root: str | Path, namespace: str, model: str, version: int, target: Path, digest: str | None = None
) -> Manifest:
    """Copy a version into the folder `target`, every byte checked as `verify` does; target ends complete or untouched.

    What was in `target` before is replaced as a whole.
    """
    at, folder = place(root), _version_folder(root, namespace, model, version)
    found, content = _checked_manifest(at, folder, digest)
    staging = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
    try:
        staging.mkdir(parents=True)
        for name, entry in found.files.items():
            _check_file(at, f"{folder}/{name}", entry.sha256, staging / name)
        (staging / MANIFEST).write_bytes(content)
        if target.exists():
            old = staging.with_name(f"{staging.name}-old")
            target.rename(old)
            staging.rename(target)
            shutil.rmtree(old)
        else:
            staging.rename(target)
    except OSError as error:
        raise StoreError.of("write", error.filename or target, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return found


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


def _checked_manifest(at: Place, folder: str, expected: str | None) -> tuple[Manifest, bytes]:
    content = _manifest_bytes(at, folder)
    found = digest(content)
    if expected is not None and found != expected:
        raise DigestMismatch(f"{folder}/{MANIFEST}", expected.removeprefix("sha256:"), found.removeprefix("sha256:"))
    return Manifest.from_bytes(content, f"{folder}/{MANIFEST}"), content


def _check_file(at: Place, path: str, expected: str, copy: Path | None) -> None:
    """Hash a file of the store while copying it; raises DigestMismatch, StoreError when it cannot be read."""
    seen = hashlib.sha256()
    with Path(copy or os.devnull).open("wb") as out:
        for chunk in _chunks(at, path):
            seen.update(chunk)
            out.write(chunk)
    if seen.hexdigest() != expected:
        raise DigestMismatch(path, expected, seen.hexdigest())


def _chunks(at: Place, path: str) -> Iterator[bytes]:
    try:
        yield from at.chunks(path)
    except OSError as error:
        raise StoreError.of("read", path, error) from error
