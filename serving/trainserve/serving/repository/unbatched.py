"""A model's second configuration, without batches, in case a trial shows that rows of a batch affect each other.

It is saved beside the repository, because the probe, which makes the trial, knows neither the model's settings nor its
graph.
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
    """`batching` is what is known before a trial; `configs` are config.pbtxt files by model, for after a failed one.

    They cover the model and its ensemble; empty for a model that is not batched anyway, or whose user demands batches.
    """

    batching: Batching
    configs: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Unbatched | None:
        """Read what `save` wrote; None if there is no such file."""
        try:
            found: Any = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        return cls(Batching(**found["batching"]), dict(found["configs"]))

    def save(self, path: Path) -> None:
        """Write the file atomically."""
        content = {"batching": self.batching.model_dump(), "configs": dict(self.configs)}
        durable.write(path, json.dumps(content).encode())

    def apply(self, repository: Path, why: str) -> Unbatched:
        """Write `configs` to the repository; returns the model's new state."""
        for name, text in self.configs.items():
            durable.write(repository / name / CONFIG, text.encode())
        return Unbatched(Batching(axis="none", reason=why))


@dataclass(frozen=True)
class Beside:
    """`SharedFile.BATCHING` in a pod's folder, and the repository beside it."""

    folder: Path

    def batching(self) -> Batching | None:
        """Return what is known of the model; None if nothing was saved."""
        found = Unbatched.load(self.folder / SharedFile.BATCHING)
        return None if found is None else found.batching

    def apply(self, why: str) -> bool:
        """Switch the repository to configurations without batches; False if there are none."""
        found = Unbatched.load(self.folder / SharedFile.BATCHING)
        if found is None or not found.configs:
            return False
        found.apply(self.folder / SharedFile.REPOSITORY, why).save(self.folder / SharedFile.BATCHING)
        return True


def of(
    entries: Iterable[Entry], folders: Iterable[Folder], gpus: int = 0, buckets: Iterable[float] = ()
) -> dict[str, Unbatched]:
    """Return the configurations without batches of each model in `folders`, by name. Raises what `layout` raises."""
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
            if not any(each.config.max_batch_size for each in laid):  # else an override demands batches
                configs = {each.config.name: config_text(each.config) for each in laid}
        found[name] = Unbatched(folder.batching, configs)
    return found


def _alone(entry: Entry) -> Entry:
    settings = entry.settings.model_copy(update={"batch_axis": "none"})
    return Entry(entry.name, entry.model, settings, entry.version)
