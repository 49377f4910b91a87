"""Identifiers: a three-letter noun, an underscore, and 80 random bits in Crockford's base 32, lower case."""

from __future__ import annotations

import re
import secrets
from typing import Final

from sulku.errors import InvalidInputError

ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH: Final = 16  # 16 × 5 bits = 80 bits: no collision expected below a billion records
NOUNS: Final = {
    "usr": "person",
    "dst": "dataset",
    "app": "application",
    "per": "permit",
    "tun": "tunnel",
    "mnt": "mount",
    "out": "output",
    "rel": "release",
    "dec": "decision",
    "led": "ledger",
}
LEDGER: Final = "led_" + "0" * LENGTH  # there is one ledger; reads and exports of it need a target too
_SHAPE: Final = re.compile(rf"({'|'.join(NOUNS)})_[{ALPHABET}]{{{LENGTH}}}")


def new(prefix: str) -> str:
    """Return a fresh identifier such as ``tun_7zk3…``; ``prefix`` is a key of ``NOUNS``."""
    if prefix not in NOUNS:
        raise InvalidInputError(f"there is no noun {prefix!r}")
    bits = secrets.randbits(5 * LENGTH)
    return f"{prefix}_{''.join(ALPHABET[bits >> 5 * n & 31] for n in range(LENGTH))}"


def noun(identifier: str) -> str:
    """Return which noun ``identifier`` names, such as ``tunnel``.

    Raises:
        InvalidInputError: It is not an identifier of ours.
    """
    return NOUNS[parse(identifier)[:3]]


def parse(text: str, prefix: str | None = None) -> str:
    """Return ``text`` if it is a well-formed identifier (of ``prefix``, if given).

    Raises:
        InvalidInputError: It is not.
    """
    if not _SHAPE.fullmatch(str(text)) or (prefix and text[:3] != prefix):
        raise InvalidInputError(f"not a reference{f' to a {NOUNS[prefix]}' if prefix else ''}: {str(text)[:40]!r}")
    return text


def label(tunnel: str) -> str:
    """Return the host label of a tunnel (``t-7zk3…``), also its server name in JupyterHub."""
    return "t-" + parse(tunnel, "tun")[4:]


def from_label(text: str) -> str:
    """Return the tunnel that a host label names; the inverse of ``label``.

    Raises:
        InvalidInputError: It is not such a label.
    """
    if not text.startswith("t-"):
        raise InvalidInputError(f"not a tunnel's label: {text[:40]!r}")
    return parse("tun_" + text[2:], "tun")
