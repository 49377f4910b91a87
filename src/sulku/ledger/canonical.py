"""The one byte form of a document: RFC 8785, reached by keeping to values on which all writers agree.

Floats, keys outside ASCII and integers of 2^53 or more are where JSON writers differ; without them orjson with sorted
keys is byte for byte what RFC 8785 asks for (``tests/core/test_ledger_canonical.py`` compares the two).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from sulku.errors import NotCanonicalError

VERSION: Final = 1  # the value of "v" in every document; another meaning of the bytes gets another number
LIMIT: Final = 0xFFFF  # bytes of a record: an entry bundle's length prefix has 16 bits (C2SP tlog-tiles)
FIELDS: Final = frozenset({"v", "index", "type", "schema", "noun", "id", "version", "at", "by", "clearance", "body"})
_EXACT: Final = 2**53 - 1
_DEPTH: Final = 64


def canonical(value: Any) -> bytes:
    """Return the one byte form of any JSON value.

    Raises:
        NotCanonicalError: It has none: a float, a key outside ASCII, an integer of 2^53 or more, another type, a text
            that is not Unicode, or more than 64 levels.
    """
    _check(value, 0)
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise NotCanonicalError(f"no byte form: {error}") from None


def encode(document: Mapping[str, Any]) -> bytes:
    """Return the one byte form of a document; it must carry the version marker ``"v": 1``.

    Raises:
        NotCanonicalError: The marker is missing or another, or as for ``canonical``.
    """
    _check_version(document)
    return canonical(document)


def encode_record(record: Mapping[str, Any]) -> bytes:
    """Return the one byte form of a ledger record: exactly ``FIELDS``, at most 65,535 bytes.

    Raises:
        NotCanonicalError: A field is missing, unknown or of the wrong kind, it is too long, or as for ``encode``.
    """
    data = encode(record)
    check_record(record)
    if len(data) > LIMIT:
        raise NotCanonicalError(f"a record of {len(data)} bytes; at most {LIMIT} fit")
    return data


def decode(data: bytes) -> dict[str, Any]:
    """Return the document whose one byte form is ``data``; nothing else is read.

    Raises:
        NotCanonicalError: Not JSON, not a document, or written in another way (spaces, order, doubled keys).
    """
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise NotCanonicalError(f"not JSON: {error}") from None
    _check_version(document)
    if canonical(document) != data:
        raise NotCanonicalError("JSON, but not in the one byte form")
    return document  # type: ignore[no-any-return]


def check_record(record: Mapping[str, Any]) -> None:
    """Check that a record has its eleven fields and that index, type, id and time are of the right kind.

    Raises:
        NotCanonicalError: One is missing, unknown or of the wrong kind.
    """
    if record.keys() != FIELDS:
        raise NotCanonicalError(f"wrong fields: {', '.join(sorted(record.keys() ^ FIELDS))[:200]}")
    if type(record["index"]) is not int or record["index"] < 0:
        raise NotCanonicalError("index is not a count from 0")
    if not all(isinstance(record[name], str) for name in ("type", "noun", "id", "at")):
        raise NotCanonicalError("type, noun, id and at are texts")


def _check_version(document: Any) -> None:
    if not isinstance(document, dict) or type(document.get("v")) is not int or document["v"] != VERSION:
        raise NotCanonicalError(f'a document is an object with "v": {VERSION}')


def _check(value: Any, depth: int) -> None:
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return
    if kind is int:
        if not -_EXACT <= value <= _EXACT:
            raise NotCanonicalError("an integer of 2^53 or more; write it as text")
    elif depth == _DEPTH:
        raise NotCanonicalError(f"more than {_DEPTH} levels")
    elif kind is dict:
        for key, item in value.items():
            if type(key) is not str or not key.isascii():
                raise NotCanonicalError(f"a key outside ASCII: {key!r:.60}")
            _check(item, depth + 1)
    elif kind is list or kind is tuple:
        for item in value:
            _check(item, depth + 1)
    else:
        raise NotCanonicalError(f"no byte form for {kind.__name__}")
