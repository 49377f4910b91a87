"""What a file really is, by its bytes, and which names a file may have."""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum
from typing import Final

from sulku.disclosure.characters import forbidden, named
from sulku.disclosure.findings import Code, Finding, Severity, found
from sulku.errors import UnsafeNameError

MAX_BYTES: Final = 16 * 2**20
MAX_NAME: Final = 100  # characters
MAX_NAME_BYTES: Final = 200  # in UTF-8; file systems allow 255


class Media(StrEnum):
    """The kinds of file that can leave."""

    TABLE = "csv"
    TEXT = "text"
    PNG = "png"
    JPEG = "jpeg"


SUFFIXES: Final = {
    ".csv": Media.TABLE,
    ".tsv": Media.TABLE,
    ".txt": Media.TEXT,
    ".md": Media.TEXT,
    ".png": Media.PNG,
    ".jpg": Media.JPEG,
    ".jpeg": Media.JPEG,
}
# Only signatures that no text file could begin with; every other binary file holds a NUL or is not UTF-8.
_SIGNATURES: Final = (
    (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", "a zip archive, or an Office document"),
    (b"PK\x05\x06", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"\x89HDF", "an HDF5 file"),
    (b"PAR1\x15", "a Parquet file"),
    (b"SQLite format 3\x00", "a database"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
    (b"GIF87a", "a GIF"),
    (b"GIF89a", "a GIF"),
    (b"\x93NUMPY", "a NumPy array"),
)
_PICKLE: Final = re.compile(rb"\x80[\x02-\x05]")
_MARKUP: Final = re.compile(rb"\s*(?:\xef\xbb\xbf)?\s*<(?:\?xml|!doctype|!--|html|svg|head|body|script|math)", re.IGNORECASE)
_NOTEBOOK: Final = re.compile(rb'\s*\{[^\x00]{0,4096}"(?:cells|nbformat)"\s*:', re.DOTALL)
_DEVICES: Final = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # a researcher's Windows would open a device


def safe_name(name: str) -> str:
    """Return ``name`` if it can be stored, shown and downloaded as it is.

    Raises:
        UnsafeNameError: It is empty, too long, not in NFC, begins or ends with a dot or space, is reserved, or holds a
            separator, a control or invisible character, a direction mark, or a character that shells and headers read.
    """
    if not name or len(name) > MAX_NAME or len(name.encode("utf-8", "replace")) > MAX_NAME_BYTES:
        raise UnsafeNameError(f"a file name has 1 to {MAX_NAME} characters")
    for character in name:
        if forbidden(character):
            raise UnsafeNameError(f"the file name holds the character {named(character)}")
        if character in "/\\:*?\"<>|%'`$&;#" or (character != " " and character.isspace()):
            raise UnsafeNameError(f"the file name holds the character {named(character)}")
    if unicodedata.normalize("NFC", name) != name:
        raise UnsafeNameError("the file name is not in the composed form of Unicode (NFC)")
    if name[0] in ".- " or name[-1] in ". " or ".." in name or _DEVICES.fullmatch(name):
        raise UnsafeNameError("the file name begins or ends with a dot, space or hyphen, or is reserved")
    return name


def identify(data: bytes, name: str) -> tuple[Media | None, tuple[Finding, ...]]:
    """Return what the bytes are, and why they cannot be accepted (then ``None``) or disagree with the name."""
    suffix = f".{name.rpartition('.')[2].lower()}" if "." in name else ""
    claimed = SUFFIXES.get(suffix)
    if not data:
        return None, (found(Code.SHAPE, Severity.BLOCK, "the file is empty."),)
    if len(data) > MAX_BYTES:
        return None, (found(Code.TOO_LARGE, Severity.BLOCK, f"the file is larger than {MAX_BYTES // 2**20} MiB."),)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        actual = Media.PNG
    elif data.startswith(b"\xff\xd8\xff"):
        actual = Media.JPEG
    elif refused := _refused(data):
        return None, (found(Code.KIND, Severity.BLOCK, f"this is {refused}; such files cannot be checked here."),)
    elif claimed in {Media.TABLE, Media.TEXT}:
        return claimed, ()  # whether it is readable text at all, the reader of that kind says more exactly
    else:
        message = f"files that end in {suffix or 'nothing'} are not accepted."
        return None, (found(Code.KIND, Severity.BLOCK, message),)
    if claimed is not actual:
        message = f"the file is a {actual.upper()} image, but its name ends in {suffix or 'nothing'}."
        return None, (found(Code.TYPE_LIE, Severity.BLOCK, message),)
    return actual, ()


def _refused(data: bytes) -> str:
    for signature, what in _SIGNATURES:
        if data.startswith(signature):
            return what
    if _PICKLE.match(data):
        return "a pickled Python object"
    if _MARKUP.match(data[:4096]):
        return "markup (HTML, SVG or XML)"
    if _NOTEBOOK.match(data[:8192]):
        return "a notebook"
    return "binary data" if b"\x00" in data else ""


def rebuilt_name(name: str, media: Media) -> str:
    """Return the name under which the rebuilt file leaves: the stem of a safe name, and the ending of what we write."""
    ending = {Media.TABLE: "csv", Media.TEXT: "txt", Media.PNG: "png", Media.JPEG: "png"}[media]
    return f"{name.rpartition('.')[0]}.{ending}"
