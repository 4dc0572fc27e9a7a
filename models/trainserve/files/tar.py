"""Strict headers for tarfile, which otherwise silently stops at a damaged one."""

from __future__ import annotations

import tarfile
from typing import Self

_LONGEST = 1 << 20
"""Maximum size in bytes of an extended header, which is read into memory as a whole."""
_SAYING = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


class Whole(tarfile.TarInfo):
    """A TarInfo that raises errors for damaged and for overlong headers.

    tarfile treats a damaged header as the archive's end unless it is the first, and reads extended headers of any size.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Parse a header. Raises InvalidHeaderError for an extended header that is too long."""
        header = super().frombuf(buf, encoding, errors)
        if header.type in _SAYING and header.size > _LONGEST:
            raise tarfile.InvalidHeaderError(f"a header of {header.size} bytes")  # type: ignore[attr-defined]
        return header

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """Read the next header. Raises ReadError for a damaged one, EOFHeaderError at the true end."""
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # missing in typeshed
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None
