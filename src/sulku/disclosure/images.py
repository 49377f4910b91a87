"""The containers of PNG and JPEG, walked without decoding: what rides along with the pixels, and what must not."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from sulku.disclosure.findings import Code, Finding, Severity, found
from sulku.disclosure.manifest import Manifest
from sulku.disclosure.profiles import Profile
from sulku.errors import UnreadableImageError

MAX_PIXELS: Final = 20_000_000
MAX_SIDE: Final = 12_000  # pixels
SMALL: Final = 200  # bytes of side data that a plotting program writes of itself

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_NEEDED: Final = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"})
_COLOUR: Final = frozenset({b"iCCP", b"cHRM", b"gAMA", b"sRGB", b"pHYs", b"sBIT", b"bKGD", b"hIST", b"tIME"})


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and content of each chunk up to the end mark; then ``(b"", rest)`` if bytes follow it.

    Raises:
        UnreadableImageError: The chunks are cut short, or there is no end mark.
    """
    at = len(_PNG)
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        if at + 12 + size > len(data):
            break
        yield kind, data[at + 8 : at + 8 + size]
        at += 12 + size
        if kind == b"IEND":
            if at < len(data):
                yield b"", data[at:]
            return
    raise UnreadableImageError("the PNG is cut short")


def essential_png(data: bytes) -> bytes:
    """Return the PNG without any chunk that the pixels do not need, so that the decoder meets as little as possible.

    Raises:
        UnreadableImageError: The chunks are cut short.
    """
    kept = [(kind, content) for kind, content in png_chunks(data) if kind in _NEEDED]
    return _PNG + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content)) for kind, content in kept
    )


def require_plain_png(data: bytes) -> None:
    """Require that ``data`` is a PNG with nothing but pixels: one header, image data, one end, right checksums.

    Raises:
        UnreadableImageError: It is not; a rebuilt image must not carry anything.
    """
    if not data.startswith(_PNG):
        raise UnreadableImageError("this is no PNG")
    at, kinds = len(_PNG), []
    for kind, content in png_chunks(data):
        if kind not in {b"IHDR", b"IDAT", b"IEND"}:
            raise UnreadableImageError("the rebuilt image carries more than pixels")
        (check,) = struct.unpack_from(">I", data, at + 8 + len(content))
        if check != zlib.crc32(kind + content):
            raise UnreadableImageError("a checksum in the rebuilt image is wrong")
        at += 12 + len(content)
        kinds.append(kind)
    ordered = kinds[:1] == [b"IHDR"] and kinds[-1] == b"IEND" and set(kinds[1:-1]) == {b"IDAT"}
    if not ordered or data[at - 12 : at - 4] != b"\x00\x00\x00\x00IEND":
        raise UnreadableImageError("the rebuilt image is out of order")


def check_png(data: bytes) -> list[Finding]:
    """Find what a PNG carries beside its pixels; none of it leaves, but a reviewer should know that it was there.

    Raises:
        UnreadableImageError: It is cut short, or moves.
    """
    aside = 0
    for kind, content in png_chunks(data):
        if kind == b"acTL":
            raise UnreadableImageError("the image is animated")
        if not kind:
            return [*_aside(aside), _hidden(f"{len(content)} bytes follow the end of the image")]
        if kind not in _NEEDED | _COLOUR:
            aside += len(content)
    return _aside(aside)


def check_jpeg(data: bytes) -> list[Finding]:
    """Find what a JPEG carries beside its pixels: comments, Exif with thumbnails, bytes after its end.

    Raises:
        UnreadableImageError: It is cut short.
    """
    at, aside = 2, 0
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise UnreadableImageError("the JPEG is damaged")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == 0xD9:
            break
        (size,) = struct.unpack_from(">H", data, at + 2)
        if size < 2:
            raise UnreadableImageError("the JPEG is damaged")
        if marker == 0xFE or (0xE0 <= marker <= 0xEF and marker not in {0xE0, 0xE2, 0xEE}):
            aside += size - 2
        at += 2 + size
        if marker == 0xDA:
            at = _scan_end(data, at)
    if data[at : at + 2] != b"\xff\xd9":
        raise UnreadableImageError("the JPEG is cut short")
    trailing = len(data) - at - 2
    return [*_aside(aside), *([_hidden(f"{trailing} bytes follow the end of the image")] if trailing else [])]


def check_figure(manifest: Manifest, profile: Profile) -> list[Finding]:
    """Check what the manifest declares of a figure; its points and bars cannot be counted from its pixels."""
    if not manifest.smallest:
        message = "nothing says how few persons may stand behind a point, bar or bin."
        return [found(Code.PICTURE, Severity.REVIEW, message)]
    if manifest.smallest < profile.threshold:
        message = f"the manifest declares marks with {manifest.smallest} people; the limit is {profile.threshold}."
        return [found(Code.SMALL_COUNT, Severity.BLOCK, message)]
    return []


def _scan_end(data: bytes, at: int) -> int:
    """Return where the next marker after entropy-coded data begins (a stuffed 0 or a restart is none)."""
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        if data[at + 1] != 0 and not 0xD0 <= data[at + 1] <= 0xD7:
            return at
        at += 2
    raise UnreadableImageError("the JPEG is cut short")


def _aside(size: int) -> list[Finding]:
    return [_hidden(f"the image carries {size} bytes of text or other data beside its pixels")] if size > SMALL else []


def _hidden(what: str) -> Finding:
    return found(Code.HIDDEN_DATA, Severity.REVIEW, f"{what}; they do not leave.")
