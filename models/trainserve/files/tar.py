"""Members of a .tar, whose headers are not believed: Python's tarfile ends early at a damaged one, in silence."""

from __future__ import annotations

import tarfile
from typing import Self

_LONGEST = 1 << 20
"""Bytes of what a member says of the next, which is read into memory as a whole."""
_SAYING = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


class Whole(tarfile.TarInfo):
    """tarfile takes a header that is cut off or damaged for the archive's end, when it is not the first, and reads what
    one says of the next however long that is."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """A header. Raises InvalidHeaderError where it says too much of the next."""
        header = super().frombuf(buf, encoding, errors)
        if header.type in _SAYING and header.size > _LONGEST:
            raise tarfile.InvalidHeaderError(f"a header of {header.size} bytes")  # type: ignore[attr-defined]
        return header

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """The next header. Raises ReadError for one that is damaged; EOFHeaderError is the archive's true end."""
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # typeshed forgot it
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None
