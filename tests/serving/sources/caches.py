"""Helpers that fill a node's cache and inspect it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from trainserve.serving.sources.cache import Lease, NodeCache, Room


def fill(cache: NodeCache, name: str, size: int) -> Lease:
    """Add an entry of `size` bytes."""
    digest = f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"

    def make(room: Room) -> str:
        room.reserve(size)
        (room.content / "file").write_bytes(b"x" * size)
        return digest

    return cache.fill(name, lambda: digest, make)


def models(cache: NodeCache) -> set[str]:
    return {path.name for path in cache.folder.glob("[!.]*")}


def leftovers(folder: Path) -> list[str]:
    kept = [str(path) for below in (".rooms", ".trash") for path in (folder / below).rglob("*")]
    return kept + [str(path) for path in (folder / ".locks").glob("room-*")]
