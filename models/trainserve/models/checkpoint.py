"""Checkpoints: the state of a run between two steps, from which a later attempt resumes bit for bit.

A file is `step-<number>.<digest>.pt`: the output of torch.save, and the first 16 hex digits of its sha256. It is
written under another name, synced and renamed, so that it is complete or absent; if the disk damages it, the digest
shows it and the next older file is used. `reached.json` records how far the run came after its last checkpoint.
torch is imported only to read and write states, not to clean up.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from trainserve.files import durable
from trainserve.models.config import Checkpoint as Config
from trainserve.models.errors import CheckpointFailed, ConfigError, UserError

_FORMAT = 1
_NAME = re.compile(r"step-(\d+)\.([0-9a-f]{16})\.pt")
_UNFINISHED = ".writing-"
_REACHED = "reached.json"
_LOCK = ".lock"
_ABSENT = object()
_SHOWN = 60


class Checkpoints:
    """The checkpoints of one run in one folder, made by `opened`; `warn` is called with skipped files and reasons.

    `written` is called with the Unix time of the newest one: after each write, and when the run resumes from one.
    """

    def __init__(
        self, config: Config, run: Mapping[str, Any], warn: Callable[[str], None], written: Callable[[float], None]
    ) -> None:
        self.folder = Path(config.folder)
        self.every_epochs, self._keep = config.every_epochs, config.keep
        self._run = _flat(run)
        self._warn, self._written = warn, written
        self._damaged: set[Path] = set()
        self._lost = 0.0

    def newest(self) -> bytes | None:
        """The content of the newest intact checkpoint, for `state`; None if there is none.

        Raises UserError naming the field if it is of a run with another config.
        """
        for path in reversed(self._all()):
            content, problem = _whole(path)
            if content is None:
                self._warn(f"checkpoint: {path} is skipped: {problem}")
                self._damaged.add(path)
                continue
            self._refuse_another_run(json.loads(state(content)["run"]), path)
            self._written(path.stat().st_mtime)
            return content
        return None

    def save(self, step: int, content: Mapping[str, Any]) -> Path:
        """Write the state after `step` and remove all but the newest `keep` files.

        Raises CheckpointFailed; then earlier checkpoints are unchanged.
        """
        import torch

        buffer = io.BytesIO()
        torch.save({**content, "format": _FORMAT, "run": json.dumps(self._run)}, buffer)
        data = buffer.getbuffer()
        path = self.folder / f"step-{step:010}.{_digest(data)}.pt"
        unfinished = self.folder / f"{_UNFINISHED}{path.name}"
        try:
            _write(unfinished, data)
            unfinished.replace(path)
            durable.sync(self.folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                unfinished.unlink()
            raise CheckpointFailed(f"cannot write the checkpoint {path}: {error.strerror}; {self._left()}") from error
        self._written(time.time())
        self._drop(path)
        return path

    def reached(self, seconds: float) -> None:
        """Record the seconds of training so far, so that a later attempt can tell how much was lost."""
        unfinished = self.folder / f"{_UNFINISHED}{_REACHED}"
        # Only a statistic: a full disk is reported by the next checkpoint.
        with contextlib.suppress(OSError):
            unfinished.write_text(json.dumps({"seconds": seconds, "lost": self._lost}))
            unfinished.replace(self.folder / _REACHED)

    def lost(self, seconds: float) -> float:
        """Seconds of training repeated over all attempts, given that this one resumes after `seconds` of training."""
        try:
            earlier = json.loads((self.folder / _REACHED).read_bytes())
            self._lost = float(earlier["lost"]) + max(0.0, float(earlier["seconds"]) - seconds)
        except (OSError, ValueError, KeyError, TypeError):
            self._lost = 0.0
        return self._lost

    def _all(self) -> list[Path]:
        """Paths of all checkpoints, oldest first."""
        return sorted(path for path in self.folder.iterdir() if _NAME.fullmatch(path.name))

    def _drop(self, newest: Path) -> None:
        for path in self._damaged - {newest}:
            path.unlink(missing_ok=True)
        self._damaged.clear()
        for path in self._all()[: -self._keep]:
            path.unlink(missing_ok=True)

    def _left(self) -> str:
        whole = [path for path in self._all() if path not in self._damaged]
        return f"the newest one is {whole[-1].name}" if whole else "there is no earlier one"

    def _refuse_another_run(self, theirs: Mapping[str, Any], path: Path) -> None:
        for field in [*self._run, *theirs]:
            mine, other = self._run.get(field, _ABSENT), theirs.get(field, _ABSENT)
            if mine != other:
                raise ConfigError(
                    f"checkpoint.folder: {self.folder} is of a run with {field} {_shown(other)}, this run has "
                    f"{_shown(mine)} ({path.name}); every run needs its own folder"
                )


@contextlib.contextmanager
def opened(
    config: Config,
    run: Mapping[str, Any],
    warn: Callable[[str], None],
    written: Callable[[float], None] = lambda when: None,
) -> Iterator[Checkpoints]:
    """Create the folder if needed and lock it for this process. `run`: settings that must be equal to resume.

    Raises UserError if another run holds it, CheckpointFailed if it cannot be written.
    """
    folder = Path(config.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("ab")
    except OSError as error:
        raise CheckpointFailed(f"checkpoint.folder: cannot write {folder}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"checkpoint.folder: {folder} is in use by another run; every run needs its own folder"
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):  # a file system without locks
                raise CheckpointFailed(f"checkpoint.folder: cannot lock {folder}: {error.strerror}") from error
        for leftover in folder.glob(f"{_UNFINISHED}*"):
            leftover.unlink(missing_ok=True)
        yield Checkpoints(config, run, warn, written)


def discard(folder: Path) -> None:
    """Remove the files of a finished run, and the folder if it is then empty."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if _NAME.fullmatch(path.name) or path.name in (_REACHED, _LOCK) or path.name.startswith(_UNFINISHED):
                path.unlink()
        folder.rmdir()


def state(content: bytes) -> dict[str, Any]:
    """The saved state, tensors on the CPU. Only tensors and plain values are loaded, no code is run."""
    import torch

    loaded: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return loaded


def _whole(path: Path) -> tuple[bytes | None, str]:
    """The file's content, or None and the problem."""
    try:
        content = path.read_bytes()
    except OSError as error:
        return None, str(error.strerror)
    named = _NAME.fullmatch(path.name)
    assert named is not None
    if _digest(content) != named[2]:
        return None, f"its {len(content)} bytes are corrupt: their digest is not the one in its name"
    try:
        found = state(content)["format"]
    except Exception as error:  # torch raises many kinds for an unknown file
        return None, f"it cannot be read ({type(error).__name__})"
    return (content, "") if found == _FORMAT else (None, f"its format is {found}, not {_FORMAT}")


def _digest(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _flat(sections: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"trainer": {"seed": 0}} as {"trainer.seed": 0}."""
    flat: dict[str, Any] = {}
    for name, value in sections.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _shown(value: object) -> str:
    text = "unset" if value is _ABSENT else json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _write(path: Path, content: memoryview) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
