"""Archives of an image folder, unpacked into the cache."""

from __future__ import annotations

from pathlib import Path

from trainserve.api import limits
from trainserve.files import EscapingName, archive
from trainserve.models.data.cache import Cache
from trainserve.models.errors import DataError


def unpacked(path: Path, digest: str, cache: Cache) -> Path:
    """Unpack the archive into the cache and return its folder. Raises DataError naming the archive and the member."""
    return cache.get(f"unpacked-{digest.removeprefix('sha256:')}", lambda room: _unpack(path, room, cache))


def _unpack(path: Path, room: Path, cache: Cache) -> None:
    most = limits.current().bytes("dataset")
    bound = archive.Bound(most, f"{limits.told(most)} (the chart's limits.dataset)")
    with cache.watch.task(f"unpacking {path.name}", None, "bytes") as moved:
        try:
            archive.unpack(path, room, path, bound, empty_folders=False, moved=moved)
        except (EscapingName, archive.UnusableArchive) as error:
            raise DataError(str(error)) from None
