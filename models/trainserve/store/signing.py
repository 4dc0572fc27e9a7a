"""Signatures of models: Ed25519 (RFC 8032), 64 raw bytes in a separate file, which openssl can verify, too.

For a version, the signed message is the exact content of its manifest.json, which contains the digests of all other
files; for anything else, it is the ASCII text of its digest, `sha256:<hex>`. A signature is stored next to the signed
file, as `manifest.json.sig` or `<file>.onnx.sig`, or as `repository.sig` in the folder of a complete Triton repository.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from trainserve.api.reasons import Reason
from trainserve.store.errors import StoreError
from trainserve.store.names import MANIFEST

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SUFFIX = ".sig"
OF_VERSION = MANIFEST + SUFFIX
OF_REPOSITORY = "repository" + SUFFIX
BYTES = 64

_Key = TypeVar("_Key")


class InvalidKey(StoreError):
    """A file without a valid key: an error of the caller, not of the store."""


class SignatureRefused(StoreError):
    """A required signature is missing, or is not of these bytes by this key."""

    reason = Reason.SIGNATURE_REFUSED


@dataclass(frozen=True)
class PublicKey:
    """A key that verifies signatures; messages show its `fingerprint`."""

    _key: Ed25519PublicKey

    @classmethod
    def load(cls, path: Path) -> PublicKey:
        """Load a PEM file (`openssl pkey -pubout`). Raises InvalidKey."""
        return cls.of(_content(path), str(path))

    @classmethod
    def of(cls, pem: bytes, where: str) -> PublicKey:
        """Parse `pem`; `where` names it in messages. Raises InvalidKey."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        key = _loaded(where, "public", lambda: serialization.load_pem_public_key(pem))
        if not isinstance(key, Ed25519PublicKey):
            raise InvalidKey(f"{where}: not an Ed25519 public key; openssl pkey -in private.pem -pubout writes one")
        return cls(key)

    @property
    def fingerprint(self) -> str:
        """The first 16 hex digits of the sha256 of the key's 32 bytes."""
        return hashlib.sha256(self._key.public_bytes_raw()).hexdigest()[:16]

    def verify(self, message: bytes, signature: bytes | None, where: str) -> None:
        """Raise SignatureRefused unless `signature` (None: missing) is of `message` by this key."""
        from cryptography.exceptions import InvalidSignature

        if signature is None:
            raise SignatureRefused(f"{where}: not signed; a signature by key {self.fingerprint} is required")
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            raise SignatureRefused(
                f"{where}: altered, or signed by another key: the signature is not by key {self.fingerprint}"
            ) from None


@dataclass(frozen=True)
class PrivateKey:
    """A key that signs."""

    _key: Ed25519PrivateKey

    @classmethod
    def load(cls, path: Path, password: bytes | None = None) -> PrivateKey:
        """Load a PEM file (`openssl genpkey -algorithm ed25519`), which may be encrypted. Raises InvalidKey."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        content = _content(path)
        key = _loaded(str(path), "private", lambda: serialization.load_pem_private_key(content, password))
        if not isinstance(key, Ed25519PrivateKey):
            raise InvalidKey(f"{path}: not an Ed25519 private key; openssl genpkey -algorithm ed25519 writes one")
        return cls(key)

    @property
    def public(self) -> PublicKey:
        """The public key that verifies this key's signatures."""
        return PublicKey(self._key.public_key())

    def sign(self, message: bytes) -> bytes:
        """Return the signature of `message`, 64 bytes."""
        return self._key.sign(message)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidKey(f"{path}: cannot be read: {error.strerror}") from None


def _loaded(where: str, kind: str, load: Callable[[], _Key]) -> _Key:
    try:
        return load()
    except TypeError as error:  # raised by cryptography for a missing or unnecessary password
        raise InvalidKey(f"{where}: {error}") from None
    except Exception:
        raise InvalidKey(f"{where}: not a {kind} key in PEM form, or a wrong password") from None
