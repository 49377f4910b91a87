"""Digests, salted commitments and single-use secrets.

A record in the ledger outlives the right to keep what it is about. So free text and personal data stay outside it and
the record holds a commitment: erase the salt and the text, and what is left says nothing and still fits the tree.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

from sulku.errors import CommitmentError, InvalidInputError

SALT_BYTES: Final = 32
_COMMITMENT: Final = b"sulku/commitment/v1\x00"  # keeps the uses apart: no value of one is ever a value of the other
_TOKEN: Final = b"sulku/token/v1\x00"


def fingerprint(data: bytes) -> str:
    """Return the SHA-256 of ``data`` as ``sha256:`` and 64 hexadecimal digits."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def salt() -> bytes:
    """Draw 32 random bytes for one commitment; never use them twice."""
    return secrets.token_bytes(SALT_BYTES)


def commit(salt: bytes, text: str) -> str:
    """Return the commitment to ``text``: ``sha256:`` and the HMAC-SHA-256 of it under ``salt``.

    Hiding as long as the salt is secret, binding as long as SHA-256 is collision-free (HMAC: RFC 2104).

    Raises:
        InvalidInputError: The salt is not 32 bytes, or the text is not Unicode.
    """
    if len(salt) != SALT_BYTES:
        raise InvalidInputError(f"a salt is {SALT_BYTES} bytes, not {len(salt)}")
    try:
        said = text.encode()
    except UnicodeEncodeError:
        raise InvalidInputError("the text holds half of a surrogate pair") from None
    return "sha256:" + hmac.new(salt, _COMMITMENT + said, hashlib.sha256).hexdigest()


def open_commitment(commitment: str, salt: bytes, text: str) -> None:
    """Check that ``commitment`` was made to ``text`` with ``salt``.

    Raises:
        CommitmentError: It was not.
        InvalidInputError: As for ``commit``.
    """
    if not hmac.compare_digest(commit(salt, text).encode(), commitment.encode(errors="replace")):
        raise CommitmentError("the salt and the text do not open this commitment")


def token(size: int = 32) -> str:
    """Draw a secret of ``size`` random bytes, as URL-safe base64 without padding (43 characters for 32 bytes).

    Raises:
        InvalidInputError: Fewer than 16 bytes: it could be guessed.
    """
    if size < 16:
        raise InvalidInputError("a token needs at least 16 bytes")
    return secrets.token_urlsafe(size)


def digest(token: str) -> str:
    """Return what may be stored of a token: a domain-separated SHA-256. Enough, as a token has full entropy."""
    return fingerprint(_TOKEN + token.encode(errors="surrogatepass"))


def check_token(token: str, stored: str) -> None:
    """Check in constant time that ``stored`` is the digest of ``token``.

    Raises:
        CommitmentError: It is not.
    """
    if not hmac.compare_digest(digest(token).encode(), stored.encode(errors="replace")):
        raise CommitmentError("this token is not the one that was given out")
