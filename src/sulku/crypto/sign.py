"""DSSE envelopes: a document, its type, and signatures over both (github.com/secure-systems-lab/dsse, v1.0.2).

One envelope has one byte form, so that its digest names it: canonical JSON, canonical base64, signatures in order.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from sulku.crypto.keys import Keyring, Lived, SigningKey
from sulku.errors import InvalidInputError, SignatureError, UnknownKeyError

PERMIT: Final = "application/vnd.sulku.permit+json"
RELEASE: Final = "application/vnd.sulku.release+json"
STATUS: Final = "application/vnd.sulku.status+json"
KEYRING: Final = "application/vnd.sulku.keyring+json"
MANIFEST: Final = "application/vnd.sulku.manifest+json"

LIMIT: Final = 32 * 1024 * 1024  # bytes of an envelope
SIGNATURES: Final = 64  # in one envelope


@dataclass(frozen=True, slots=True)
class Opened:
    """A document and the trusted keys that signed it, at least one."""

    payload: bytes
    signers: tuple[Lived, ...]


@dataclass(frozen=True, slots=True)
class Envelope:
    """An envelope taken apart, nothing in it believed yet. ``signatures`` are pairs of key hint and bytes."""

    kind: str
    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]


def encode_preauth(kind: str, payload: bytes) -> bytes:
    """Return the bytes that are signed: DSSE's pre-authentication encoding, lengths in decimal."""
    said = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(said), said, len(payload), payload)


def sign(payload_type: str, payload: bytes, *keys: SigningKey) -> bytes:
    """Return an envelope of ``payload``, signed by each of ``keys``.

    Raises:
        InvalidInputError: There is no key.
    """
    if not keys:
        raise InvalidInputError("an envelope needs at least one key")
    message = encode_preauth(payload_type, payload)
    return _write(Envelope(payload_type, payload, tuple((key.public.hint, key.sign(message)) for key in keys)))


def read(envelope: bytes) -> Envelope:
    """Take an envelope apart without believing it.

    Raises:
        SignatureError: It is not an envelope in its one byte form.
    """
    if len(envelope) > LIMIT:
        raise SignatureError(f"an envelope of {len(envelope)} bytes; at most {LIMIT} are read")
    try:
        found: Any = orjson.loads(envelope)
        taken = Envelope(
            str(found["payloadType"]),
            _unbase64(found["payload"]),
            tuple((str(row["keyid"]), _unbase64(row["sig"])) for row in found["signatures"]),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, binascii.Error):
        raise SignatureError("not a DSSE envelope") from None
    if len(taken.signatures) > SIGNATURES:
        raise SignatureError(f"{len(taken.signatures)} signatures; at most {SIGNATURES} are read")
    if _write(taken) != envelope:
        raise SignatureError("an envelope, but not in its one byte form")
    return taken


def open_envelope(envelope: bytes, keyring: Keyring, payload_type: str) -> Opened:
    """Return the document and who signed it; when they signed is for the caller to check.

    Raises:
        SignatureError: Malformed, of another type, or a signature under a known key's name does not fit.
        UnknownKeyError: No key in the ring signed it.
    """
    taken = read(envelope)
    if taken.kind != payload_type:
        raise SignatureError(f"this is a {taken.kind[:80]!r}, not a {payload_type!r}")
    message, signers = encode_preauth(taken.kind, taken.payload), []
    for hint, signature in taken.signatures:
        try:
            lived = keyring.find(hint)
        except UnknownKeyError:
            continue  # somebody else's signature; it neither helps nor harms
        lived.key.verify(signature, message)
        signers.append(lived)
    if not signers:
        claimed = ", ".join(hint[:100] for hint, _ in taken.signatures) or "nobody"
        raise UnknownKeyError(f"signed by {claimed}, whom you do not trust")
    return Opened(taken.payload, tuple(signers))


def verify(
    envelope: bytes, keyring: Keyring, payload_type: str, at: datetime | Callable[[bytes], datetime] | None = None
) -> bytes:
    """Return the document that a key in the ring signed while it was in use.

    Args:
        envelope: As ``sign`` made it.
        keyring: Whom to believe.
        payload_type: What it must be.
        at: When it was signed, or how to read that from the document. A document's own word can be backdated with a
            stolen key: prefer the time of the ledger's record of it. None accepts only keys that were never retired.

    Raises:
        SignatureError: Malformed, of another type, edited, or signed only by keys that were not in use then.
        UnknownKeyError: No key in the ring signed it.
    """
    opened = open_envelope(envelope, keyring, payload_type)
    if at is None:
        if all(lived.until is not None for lived in opened.signers):
            raise SignatureError("signed by a retired key, and nothing says when")
        return opened.payload
    check_lived(opened.signers, at if isinstance(at, datetime) else at(opened.payload))
    return opened.payload


def check_lived(signers: Iterable[Lived], at: datetime) -> None:
    """Check that one of the signers was in use at ``at``.

    Raises:
        SignatureError: None was; the last one's reason.
    """
    reason = SignatureError("nobody signed it")
    for lived in signers:
        try:
            return lived.check(at)
        except SignatureError as error:
            reason = error
    raise reason


def _write(envelope: Envelope) -> bytes:
    rows = [{"keyid": hint, "sig": base64.b64encode(made).decode()} for hint, made in envelope.signatures]
    whole = {"payload": base64.b64encode(envelope.payload).decode(), "payloadType": envelope.kind, "signatures": rows}
    return orjson.dumps(whole, option=orjson.OPT_SORT_KEYS)


def _unbase64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
