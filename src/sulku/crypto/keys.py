"""Ed25519 keys with names, their text forms, and the ring of public keys with the time that each may sign in."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sulku.codec import stamp, unstamp
from sulku.errors import InvalidInputError, KeyFormatError, SignatureError, UnknownKeyError

RING_LIMIT: Final = 1000  # keys in a ring that is read
_ED25519: Final = b"\x01"  # signature type of C2SP signed-note
_NAME: Final = re.compile(r"[!-*,-~]{1,200}")  # printable ASCII; no space, no plus (signed-note, "Format")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An Ed25519 public key and the name that it signs under.

    Attributes:
        name: Schema-less URL, such as ``sulku.example/ledger``; equal to the ledger's origin for the key that signs it.
        raw: The 32 bytes of RFC 8032.
    """

    name: str
    raw: bytes

    def __post_init__(self) -> None:
        """Refuse what cannot be a key.

        Raises:
            KeyFormatError: The name or the length is wrong.
        """
        if not _NAME.fullmatch(self.name):
            raise KeyFormatError(f"not a key's name: {self.name[:60]!r}")
        if len(self.raw) != 32:
            raise KeyFormatError(f"an Ed25519 key is 32 bytes, not {len(self.raw)}")

    @property
    def id(self) -> bytes:
        """Return the 4-byte key ID of C2SP signed-note; it finds a key, it does not prove one."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.raw).digest()[:4]

    @property
    def hint(self) -> str:
        """Return ``name+hash``: what a DSSE signature carries as its ``keyid``."""
        return f"{self.name}+{self.id.hex()}"

    @property
    def vkey(self) -> str:
        """Return the C2SP verifier key ``name+hash+base64``; the form that auditors are given."""
        return f"{self.hint}+{base64.b64encode(_ED25519 + self.raw).decode()}"

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the verifier key in groups of four digits, to compare by eye or by telephone."""
        digits = hashlib.sha256(self.vkey.encode()).hexdigest()
        return " ".join(digits[n : n + 4] for n in range(0, 64, 4))

    @classmethod
    def parse(cls, vkey: str) -> PublicKey:
        """Read a verifier key.

        Raises:
            KeyFormatError: It is not one, is of another algorithm, or its hash does not fit.
        """
        parts = vkey.strip().split("+", 2)  # base64 has plus signs of its own
        try:
            body = base64.b64decode(parts[2], validate=True)
        except (IndexError, binascii.Error, ValueError):
            raise KeyFormatError(f"not name+hash+base64: {vkey[:80]!r}") from None
        key = cls(parts[0], body[1:])
        if body[:1] != _ED25519 or key.vkey != vkey.strip():
            raise KeyFormatError(f"the hash does not fit the key, or it is not Ed25519: {vkey[:80]!r}")
        return key

    @classmethod
    def load(cls, name: str, pem: bytes) -> PublicKey:
        """Read a PEM ``PUBLIC KEY`` and name it.

        Raises:
            KeyFormatError: It is not an Ed25519 public key.
        """
        try:
            key = serialization.load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm):
            raise KeyFormatError("not a PEM public key") from None
        if not isinstance(key, Ed25519PublicKey):
            raise KeyFormatError("a public key, but not Ed25519")
        return cls(name, key.public_bytes_raw())

    def pem(self) -> bytes:
        """Return the key as PEM, SubjectPublicKeyInfo."""
        return Ed25519PublicKey.from_public_bytes(self.raw).public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def verify(self, signature: bytes, message: bytes) -> None:
        """Check an Ed25519 signature (RFC 8032).

        Raises:
            SignatureError: It is not this key's signature of these bytes.
        """
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except (InvalidSignature, ValueError):
            raise SignatureError(f"the signature by {self.hint} does not fit") from None


@dataclass(frozen=True, slots=True, eq=False)
class SigningKey:
    """An Ed25519 private key and its name; never shown by ``repr``."""

    name: str
    _key: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def generate(cls, name: str) -> SigningKey:
        """Draw a new key.

        Raises:
            KeyFormatError: The name cannot be a key's.
        """
        return cls(name, Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, name: str, pem: bytes) -> SigningKey:
        """Read a PEM ``PRIVATE KEY`` (PKCS #8, not encrypted) and name it.

        Raises:
            KeyFormatError: It is not an Ed25519 private key, or it wants a passphrase.
        """
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise KeyFormatError("not an unencrypted PEM private key") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyFormatError("a private key, but not Ed25519")
        return cls(name, key)

    def __post_init__(self) -> None:
        """Refuse a name that no public key could have."""
        _ = self.public

    @property
    def public(self) -> PublicKey:
        """Return the public half, under the same name."""
        return PublicKey(self.name, self._key.public_key().public_bytes_raw())

    def pem(self) -> bytes:
        """Return the private key as PEM, PKCS #8, not encrypted: for a file of mode 0600."""
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature of ``message``."""
        return self._key.sign(message)


@dataclass(frozen=True, slots=True)
class Lived:
    """A public key and when it may sign: from ``since``, up to and with ``until`` (None: it still does)."""

    key: PublicKey
    since: datetime
    until: datetime | None = None

    def check(self, at: datetime) -> None:
        """Check that the key was in use at ``at``.

        Raises:
            SignatureError: It was not yet, or no longer.
        """
        if at < self.since:
            raise SignatureError(f"{self.key.hint} was in use from {stamp(self.since)}, not yet at {stamp(at)}")
        if self.until is not None and at > self.until:
            raise SignatureError(f"{self.key.hint} was retired at {stamp(self.until)}, before {stamp(at)}")


@dataclass(frozen=True, slots=True)
class Keyring:
    """The public keys of one installation: those in use and those retired, which still verify what they signed."""

    keys: tuple[Lived, ...] = ()

    def __post_init__(self) -> None:
        """Refuse two keys that could be taken for each other.

        Raises:
            KeyFormatError: A name and key ID occur twice.
        """
        if len({lived.key.hint for lived in self.keys}) != len(self.keys):
            raise KeyFormatError("a key is in the ring twice")

    def find(self, hint: str) -> Lived:
        """Return the key whose ``name+hash`` is ``hint``.

        Raises:
            UnknownKeyError: It is not in the ring.
        """
        for lived in self.keys:
            if lived.key.hint == hint:
                return lived
        raise UnknownKeyError(f"no trusted key is called {hint[:100]!r}")

    def add(self, key: PublicKey, since: datetime) -> Keyring:
        """Return the ring with ``key`` in use from ``since``."""
        return Keyring((*self.keys, Lived(key, since)))

    def retire(self, key: PublicKey, until: datetime) -> Keyring:
        """Return the ring with ``key`` out of use after ``until``.

        Raises:
            UnknownKeyError: It is not in the ring.
        """
        gone = self.find(key.hint)
        return Keyring(tuple(Lived(key, gone.since, until) if each is gone else each for each in self.keys))

    def document(self, at: datetime) -> dict[str, Any]:
        """Return the ring as a document of time ``at``: ``{"v", "at", "keys": [{"key", "since", "until"}]}``."""
        rows = [
            {"key": one.key.vkey, "since": stamp(one.since), "until": stamp(one.until) if one.until else None}
            for one in self.keys
        ]
        return {"v": 1, "at": stamp(at), "keys": rows}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> tuple[Keyring, datetime]:
        """Return the ring and the time that ``document`` printed.

        Raises:
            KeyFormatError: The document is not a ring.
        """
        try:
            if document["v"] != 1:
                raise KeyFormatError("a key ring of another version")
            if len(document["keys"]) > RING_LIMIT:
                raise KeyFormatError(f"a ring of {len(document['keys'])} keys; at most {RING_LIMIT} are read")
            rows = [(PublicKey.parse(row["key"]), row["since"], row["until"]) for row in document["keys"]]
            keys = tuple(Lived(key, unstamp(since), unstamp(until) if until else None) for key, since, until in rows)
            return cls(keys), unstamp(document["at"])
        except KeyFormatError:
            raise
        except (KeyError, TypeError, AttributeError, InvalidInputError):
            raise KeyFormatError("not a key ring") from None
