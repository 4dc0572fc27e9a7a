"""What the init container of a serving pod does: fetch a pinned version, check every byte, write the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainserve import store
from trainserve.serving import repository
from trainserve.serving.model_config import UnservableModel
from trainserve.serving.servable import Servable
from trainserve.serving.settings import InvalidSettings, Settings


def fetch(
    root: str,
    namespace: str,
    model: str,
    version: int,
    digest: str,
    into: Path,
    model_name: str,
    settings: Settings,
    gpus: int = 0,
) -> dict[str, Any]:
    """Makes `<into>/version` and `<into>/repository`; returns the termination message (docs/contracts.md).

    Nothing is written to the repository unless every digest matched.
    """
    try:
        manifest = store.fetch(root, namespace, model, version, into / "version", digest)
        entry = repository.Entry(model_name, Servable.of_version(into / "version"), settings)
        repository.write([entry], into / "repository", gpus)
    except store.ModelNotFound as error:
        return _failed("VersionNotFound", error)
    except store.StoreError as error:
        return _failed(error.reason, error)
    except UnservableModel as error:
        return _failed("UnservableModel", error)
    except InvalidSettings as error:
        return _failed("InvalidSettings", error)
    except OSError as error:
        return _failed("StoreError", f"cannot write {error.filename or into}: {error.strerror}")
    return {"outcome": "Fetched", "version": manifest.version, "digest": digest}


def _failed(reason: str, message: object) -> dict[str, Any]:
    return {"outcome": "Failed", "reason": reason, "message": str(message)}
