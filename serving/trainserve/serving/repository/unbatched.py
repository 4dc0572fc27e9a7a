"""A model's second configuration, in which nothing is gathered, for when a trial shows that its rows are not apart.

It is written down beside the repository when that is laid out, because whoever makes the trial, a pod's probe, knows
neither the model's settings nor its graph.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainserve.api.pod import SharedFile
from trainserve.files import durable
from trainserve.serving.repository.model_config import config_text
from trainserve.serving.repository.repository import Entry, Folder, layout
from trainserve.serving.sources.ready_repository import CONFIG
from trainserve.store import Batching


@dataclass(frozen=True)
class Unbatched:
    """`batching` is what is known of a model before any trial, `configs` the config.pbtxt of it and of what surrounds
    it, by name, for after one that it did not stand; empty of a model that is not batched anyway, or is batched on its
    user's word."""

    batching: Batching
    configs: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Unbatched | None:
        """What `save` wrote; None where nothing did."""
        try:
            found: Any = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        return cls(Batching(**found["batching"]), dict(found["configs"]))

    def save(self, path: Path) -> None:
        """Write it, as a whole."""
        content = {"batching": self.batching.model_dump(), "configs": dict(self.configs)}
        durable.write(path, json.dumps(content).encode())

    def apply(self, repository: Path, why: str) -> Unbatched:
        """Have the repository say that nothing is gathered; returns what is to be known of the model then."""
        for name, text in self.configs.items():
            durable.write(repository / name / CONFIG, text.encode())
        return Unbatched(Batching(axis="none", reason=why))


@dataclass(frozen=True)
class Beside:
    """`SharedFile.BATCHING` in a pod's folder, and the repository beside it."""

    folder: Path

    def batching(self) -> Batching | None:
        """What is known of the model; None where nothing was written down."""
        found = Unbatched.load(self.folder / SharedFile.BATCHING)
        return None if found is None else found.batching

    def apply(self, why: str) -> bool:
        """Have the repository say that nothing is gathered; False where nobody has written down how."""
        found = Unbatched.load(self.folder / SharedFile.BATCHING)
        if found is None or not found.configs:
            return False
        found.apply(self.folder / SharedFile.REPOSITORY, why).save(self.folder / SharedFile.BATCHING)
        return True


def of(
    entries: Iterable[Entry], folders: Iterable[Folder], gpus: int = 0, buckets: Iterable[float] = ()
) -> dict[str, Unbatched]:
    """For every model of a repository that is laid out as `folders`, by name. Raises what `layout` does."""
    given, found = list(entries), {}
    for folder in folders:
        if folder.batching is None:
            continue
        name = folder.config.name
        configs: dict[str, str] = {}
        vouched = any(entry.settings.batch_axis == "first" for entry in given if entry.name == name)
        if folder.config.max_batch_size and not vouched:
            alone = [_alone(entry) for entry in given if entry.name == name]
            laid = layout(alone, gpus, list(buckets))
            if not any(each.config.max_batch_size for each in laid):  # else an override asks for batches
                configs = {each.config.name: config_text(each.config) for each in laid}
        found[name] = Unbatched(folder.batching, configs)
    return found


def _alone(entry: Entry) -> Entry:
    settings = entry.settings.model_copy(update={"batch_axis": "none"})
    return Entry(entry.name, entry.model, settings, entry.version)
