"""A ZIP archive that has one byte form, written and read front to back.

Members are stored, never compressed, with fixed times and modes; so a list of (path, bytes) has exactly one archive,
any tool can open it, and nothing in it can unfold to more than its own length. The reader rebuilds every header and the
whole directory from what it has read and compares: there is no byte that it does not check. (PKWARE APPNOTE 6.3.10.)
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from sulku.errors import BundleError

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR: Final = struct.Struct("<4sLQL")
_END: Final = struct.Struct("<4s4H2LH")
_DATE: Final = 1 << 5 | 1  # 1 January 1980, the earliest that the format can say
_MODE: Final = 0o100644 << 16
_UNIX: Final = 3 << 8
_PLAIN, _WIDE = 20, 45  # format versions: as everywhere, and with 64-bit offsets
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_CHUNK: Final = 1 << 20
_PATH: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")  # no "..", no root, no hidden
_PATH_LIMIT: Final = 200


class Sink(Protocol):
    """What bytes can be written to."""

    def write(self, data: bytes, /) -> object:
        """Take all of ``data``."""
        ...


class Source(Protocol):
    """What bytes can be read from, front to back."""

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes; none at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive; ``crc`` is what its header claims."""

    path: str
    data: bytes
    crc: int

    def check(self) -> None:
        """Check the claimed CRC-32. Left to the caller, who can often say better what is wrong with the bytes.

        Raises:
            BundleError: It does not fit.
        """
        if zlib.crc32(self.data) != self.crc:
            raise BundleError(f"{self.path}: the checksum does not fit")


class Writer:
    """Writes an archive to a sink; ``close`` must be called."""

    def __init__(self, out: Sink) -> None:
        """Begin at the front of ``out``."""
        self._out, self._offset, self._count, self._directory = out, 0, 0, bytearray()

    def add(self, path: str, data: bytes) -> None:
        """Write one file.

        Raises:
            BundleError: The path is not a plain relative one.
        """
        check_path(path)
        crc = zlib.crc32(data)
        self._directory += _central(path, len(data), crc, self._offset)
        header = _local(path, len(data), crc)
        self._out.write(header)
        self._out.write(data)
        self._offset += len(header) + len(data)
        self._count += 1

    def close(self) -> None:
        """Write the directory."""
        self._out.write(bytes(self._directory))
        self._out.write(_end(self._count, len(self._directory), self._offset))


class Reader:
    """Reads what ``Writer`` wrote, one file at a time; holds one file and no directory."""

    def __init__(self, source: Source, limit: Callable[[str], int]) -> None:
        """Begin at the front of ``source``; ``limit(path)`` is the most bytes that a file may have."""
        self._source, self._limit = source, limit
        self._offset = self._count = self._length = 0
        self._directory = hashlib.sha256()
        self._ahead = b""

    def next(self) -> Member | None:
        """Return the next file, or None after the last.

        Raises:
            BundleError: A header is not the one that this file has, or the archive ends too early.
        """
        head = self._read(_LOCAL.size if not self._ahead else 0)
        if head[:4] != b"PK\x03\x04":
            self._ahead = head or self._ahead
            return None
        if len(head) < _LOCAL.size:
            raise BundleError("the bundle ends inside a header")
        *_, crc, size, _, length, _ = _LOCAL.unpack(head)
        path = check_path(self._read(min(length, _PATH_LIMIT + 1)).decode("latin-1"))
        if head + path.encode() != _local(path, size, crc):
            raise BundleError(f"{path}: not the header that this file has")
        if size > self._limit(path):
            raise BundleError(f"{path}: {size} bytes; at most {self._limit(path)} are read")
        data = self._read(size)
        if len(data) != size:
            raise BundleError(f"the bundle ends inside {path}")
        entry = _central(path, size, crc, self._offset)
        self._directory.update(entry)
        self._length += len(entry)
        self._offset += len(head) + len(path) + size
        self._count += 1
        return Member(path, data, crc)

    def finish(self) -> None:
        """Check the directory, and that nothing follows it.

        Raises:
            BundleError: There are files left, the directory is another one, or something follows.
        """
        if self.next() is not None:
            raise BundleError("there are files after the last one that belongs here")
        seen, left = hashlib.sha256(), self._length
        while left and (chunk := self._take(min(left, _CHUNK))):
            seen.update(chunk)
            left -= len(chunk)
        end = _end(self._count, self._length, self._offset)
        if seen.digest() != self._directory.digest() or self._take(len(end) + 1) != end:
            raise BundleError("the directory at the end is not the one that these files have")

    def _take(self, size: int) -> bytes:
        ahead, self._ahead = self._ahead[:size], self._ahead[size:]
        return ahead + self._read(size - len(ahead))

    def _read(self, size: int) -> bytes:
        data = self._source.read(size) if size else b""
        while len(data) < size and (more := self._source.read(size - len(data))):  # a pipe may give less
            data += more
        return data


def check_path(path: str) -> str:
    """Return ``path`` if it is plain and relative and at most 200 characters.

    Raises:
        BundleError: It is not.
    """
    if len(path) > _PATH_LIMIT or not _PATH.fullmatch(path):
        raise BundleError(f"not a path for a bundle: {path[:60]!r}")
    return path


def _local(path: str, size: int, crc: int) -> bytes:
    name = path.encode()
    return _LOCAL.pack(b"PK\x03\x04", _PLAIN, 0, 0, 0, _DATE, crc, size, size, len(name), 0) + name


def _central(path: str, size: int, crc: int, offset: int) -> bytes:
    name, extra, needs = path.encode(), b"", _PLAIN
    if offset >= _MAX32:
        extra, needs, offset = struct.pack("<2HQ", 1, 8, offset), _WIDE, _MAX32
    first = (b"PK\x01\x02", _UNIX | needs, needs, 0, 0, 0, _DATE, crc, size, size)
    return _CENTRAL.pack(*first, len(name), len(extra), 0, 0, 0, _MODE, offset) + name + extra


def _end(count: int, length: int, offset: int) -> bytes:
    wide = b""
    if count >= _MAX16 or length >= _MAX32 or offset >= _MAX32:
        sizes = (count, count, length, offset)
        wide = _END64.pack(b"PK\x06\x06", _END64.size - 12, _UNIX | _WIDE, _WIDE, 0, 0, *sizes)
        wide += _LOCATOR.pack(b"PK\x06\x07", 0, offset + length, 1)
        count, length, offset = min(count, _MAX16), min(length, _MAX32), min(offset, _MAX32)
    return wide + _END.pack(b"PK\x05\x06", 0, 0, count, count, length, offset, 0)
