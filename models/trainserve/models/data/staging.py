"""Files and folders at URIs, copied into the cache: verified on arrival, complete or not at all, named by digest.

Entries: `files-<digest>` holds one file, `folder-<digest>` the files of a folder; `known/` maps a URI and the state of
its files to their digest.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path

from trainserve.files import EscapingName, durable, place_for
from trainserve.models.data import digests
from trainserve.models.data.ahead import ahead
from trainserve.models.data.cache import Cache
from trainserve.models.data.remote import File, Remote
from trainserve.models.errors import DataError

_CONNECTIONS = 8
"""Files of a folder that are fetched concurrently."""


def stage(uri: str, digest: str | None, check: Callable[[bool], object], cache: Cache) -> tuple[Path, str]:
    """Fetch a file or folder into the cache; returns its path and digest. A cached `digest` needs no network.

    `check` is called with whether it is a folder before anything is fetched, and may raise. Raises DataError if it
    cannot be read, is truncated or has another digest; then nothing is kept.
    """
    if digest is not None and (there := _staged(digest, cache)):
        return there, digest
    remote = Remote(uri)
    files, folder = remote.files()
    check(folder)
    if not files:
        raise DataError(f"{uri}: 0 files; at least 1 is needed")
    note = _note(uri, files, cache)
    with cache.room(f"fetch-{_sha256(uri)}") as room:
        known = digest or _noted(note)
        if known is not None and (there := _staged(known, cache)):
            return there, known
        found = _fetch(remote, files, folder, room, cache)
        if digest not in (None, found):
            raise DataError(f"{uri}: expected {digest}, found {found}")
        _write(note, found)
        kind = "folder" if folder else "files"
        return _content(cache.keep(room, f"{kind}-{found.removeprefix('sha256:')}")), found


def _staged(digest: str, cache: Cache) -> Path | None:
    """The cached file or folder with `digest`; a folder's is of its listing, and so never equals a file's."""
    entries = (cache.entry(f"{kind}-{digest.removeprefix('sha256:')}") for kind in ("files", "folder"))
    return next((_content(entry) for entry in entries if entry), None)


def _content(entry: Path) -> Path:
    return entry if entry.name.startswith("folder-") else next(entry.iterdir())


def _fetch(remote: Remote, files: list[File], folder: bool, room: Path, cache: Cache) -> str:
    """Copy all files into `room`; returns the digest."""
    sizes = [file.bytes for file in files]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    stopped = threading.Event()
    with cache.watch.task(f"fetching {remote.uri}", total, "bytes") as moved:

        def fetch(file: File) -> tuple[str, str]:
            return file.name, _copy(remote, file, _place(room, file.name, remote.uri), moved, stopped)

        fetched = [*ahead(fetch, files, min(_CONNECTIONS, len(files)), "fetch", stopped)]
    return digests.of_listing(fetched) if folder else fetched[0][1]


def _place(room: Path, name: str, uri: str) -> Path:
    try:
        return place_for(room, name, uri)
    except EscapingName as error:
        raise DataError(str(error)) from None


def _copy(remote: Remote, file: File, target: Path, moved: Callable[[int], None], stopped: threading.Event) -> str:
    sha256 = hashlib.sha256()
    with target.open("xb") as copy:
        for chunk in remote.chunks(file):
            if stopped.is_set():
                break
            sha256.update(chunk)
            copy.write(chunk)
            moved(len(chunk))
    return f"sha256:{sha256.hexdigest()}"


def _note(uri: str, files: list[File], cache: Cache) -> Path | None:
    """The path of the note with these files' digest; None if the file system does not tell whether they change."""
    states = [file.state for file in files]
    if None in states:
        return None
    return cache.root / "known" / _sha256(json.dumps([uri, [[file.name, file.state] for file in files]]))


def _noted(note: Path | None) -> str | None:
    return note.read_text() if note is not None and note.exists() else None


def _write(note: Path | None, digest: str) -> None:
    if note is not None:
        note.parent.mkdir(exist_ok=True)
        durable.write(note, digest.encode())


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
