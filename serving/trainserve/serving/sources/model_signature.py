"""Signs a model, once every byte of it is checked."""

from __future__ import annotations

from trainserve.files import durable
from trainserve.serving.sources.address import locate
from trainserve.serving.sources.origins import FolderOrigin, ObjectOrigin, Origin
from trainserve.serving.sources.ready_repository import ReadyRepository
from trainserve.serving.sources.request import origin_of
from trainserve.serving.sources.source import open_model
from trainserve.store import InvalidAddress, StoreError, signing
from trainserve.store.manifest import digest as digest_of
from trainserve.store.names import MANIFEST


def sign(address: str, key: signing.PrivateKey) -> str:
    """Check every byte of the model at `address` and write a signature beside it; returns the signature's address.

    Raises what open_model raises.
    """
    at = locate(address)
    if at.place == "https" or at.kind == "archive":
        raise InvalidAddress(f"{address}: nothing can be laid beside it; sign it where it is published from")
    model, origin = open_model(address, release=None), origin_of(at)
    if isinstance(model, ReadyRepository):
        name, message = signing.OF_REPOSITORY, model.digest.encode()
    elif model.manifest is not None:
        name, message = signing.OF_VERSION, (model.folder / MANIFEST).read_bytes()
        if digest_of(message) != model.digest:
            raise StoreError(f"{address}: it was replaced while it was read")
    else:
        name, message = at.name + signing.SUFFIX, model.digest.encode()
    _put(origin, name, key.sign(message))
    return origin.where(name)


def _put(origin: Origin, name: str, content: bytes) -> None:
    if isinstance(origin, ObjectOrigin):
        origin.put(name, content)
        return
    assert isinstance(origin, FolderOrigin)
    path = origin.folder / name
    try:
        durable.write(path, content)
    except OSError as error:
        raise StoreError.of("write", path, error) from error
