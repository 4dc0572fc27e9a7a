"""The folder of a run's files, and errors in writing them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from trainserve.api.pod import Variable
from trainserve.models.errors import PublishFailed


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield the folder $TRAINSERVE_OUTPUT, by default a temporary one.

    Raises PublishFailed if it cannot be made.
    """
    if given := os.environ.get(Variable.OUTPUT):
        with written_to(Path(given)):
            Path(given).mkdir(parents=True, exist_ok=True)
        yield Path(given)
        return
    with tempfile.TemporaryDirectory(prefix="trainserve-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def written_to(path: Path) -> Iterator[None]:
    """Turn an OSError inside into PublishFailed, which names the path: the error's own, else `path`."""
    try:
        yield
    except OSError as error:
        raise PublishFailed(f"cannot write {error.filename or path}: {error.strerror or error}") from error
