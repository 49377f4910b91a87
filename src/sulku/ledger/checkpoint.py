"""Checkpoints: the size and root of a ledger, signed (C2SP tlog-checkpoint v1 in a C2SP signed-note v1)."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from sulku.crypto.keys import Keyring, Lived, SigningKey
from sulku.errors import ProofError, SignatureError, UnknownKeyError
from sulku.ledger import tree

LIMIT: Final = 128 * 1024  # bytes of a note: 16 post-quantum cosignatures of 5 kB and room to spare
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_SIGNATURE: Final = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a ledger says of itself: how many records it has and the root of their tree.

    Attributes:
        origin: The ledger's name, such as ``sulku.example/ledger``; also the name of the key that signs it.
        size: Number of records.
        root: Root hash, 32 bytes.
        extensions: Further lines, opaque; sulku writes none.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> bytes:
        """Return the note's text, the bytes that are signed; ends in a newline."""
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions)
        return "".join(f"{line}\n" for line in lines).encode()


@dataclass(frozen=True, slots=True)
class Note:
    """A signed note taken apart, nothing in it believed yet.

    Attributes:
        checkpoint: What it says.
        signatures: Rows of key hint (``name+hash``) and signature, those of unknown kinds too (witnesses).
    """

    checkpoint: Checkpoint
    signatures: tuple[tuple[str, bytes], ...]

    def write(self) -> bytes:
        """Return the note's bytes."""
        lines = [self.checkpoint.text().decode()]
        for hint, made in self.signatures:
            name, key_id = hint.split("+")
            lines.append(f"— {name} {base64.b64encode(bytes.fromhex(key_id) + made).decode()}")
        return ("\n".join(lines) + "\n").encode()


def make(checkpoint: Checkpoint, key: SigningKey) -> bytes:
    """Return the signed note of ``checkpoint``.

    Raises:
        SignatureError: The key's name is not the ledger's origin, or the checkpoint has no valid text.
    """
    if key.name != checkpoint.origin:
        raise SignatureError(f"{key.name} cannot sign for {checkpoint.origin}")
    note = Note(checkpoint, ((key.public.hint, key.sign(checkpoint.text())),)).write()
    parse(note)
    return note


def cosign(note: bytes, line: bytes) -> bytes:
    """Return ``note`` with one more signature line (without newline), such as a witness's.

    Raises:
        SignatureError: The result is not a note.
    """
    longer = note + line + b"\n"
    parse(longer)
    return longer


def parse(note: bytes) -> Note:
    """Take a signed note apart without believing it.

    Raises:
        SignatureError: It is not the note of a checkpoint in its one byte form.
    """
    if len(note) > LIMIT:
        raise SignatureError(f"a checkpoint of {len(note)} bytes; at most {LIMIT} are read")
    try:
        text, marker, tail = note.decode().rpartition("\n\n")
        lines = text.split("\n")
        origin, size, root = lines[:3]
        rows = tuple(_signature(line) for line in tail.removesuffix("\n").split("\n"))
        if not marker or not origin or not all(lines[3:]) or not _SIZE.fullmatch(size) or _controls(note):
            raise SignatureError("not a checkpoint")
        found = Note(Checkpoint(origin, int(size), base64.b64decode(root, validate=True), tuple(lines[3:])), rows)
    except (ValueError, binascii.Error):
        raise SignatureError("not a checkpoint") from None
    if len(found.checkpoint.root) != tree.BYTES or found.write() != note:
        raise SignatureError("a checkpoint, but not in its one byte form")
    return found


def verify(note: bytes, keyring: Keyring, origin: str) -> tuple[Checkpoint, tuple[Lived, ...]]:
    """Return the checkpoint that the ledger ``origin`` signed, and the keys of the ring that signed it.

    Whether those keys were in use is for the caller: a checkpoint carries no time, its last record does.

    Raises:
        SignatureError: Malformed, of another ledger, or a signature under a known key's name does not fit.
        UnknownKeyError: No key of that name in the ring signed it; other signatures are kept and do not count.
    """
    found = parse(note)
    if found.checkpoint.origin != origin:
        raise SignatureError(f"a checkpoint of {found.checkpoint.origin[:80]!r}, not of {origin!r}")
    signers = []
    for hint, signature in found.signatures:
        try:
            lived = keyring.find(hint)
        except UnknownKeyError:
            continue
        if lived.key.name == origin:
            lived.key.verify(signature, found.checkpoint.text())
            signers.append(lived)
    if not signers:
        raise UnknownKeyError(f"no trusted key of {origin} signed this checkpoint")
    return found.checkpoint, tuple(signers)


def extends(old: Checkpoint, new: Checkpoint, proof: list[bytes]) -> None:
    """Check that the ledger at ``new`` begins with the ledger at ``old``.

    Raises:
        ProofError: It does not, or they are two ledgers.
    """
    if old.origin != new.origin:
        raise ProofError(f"{old.origin} and {new.origin} are two ledgers")
    tree.verify_consistency(old.size, new.size, old.root, new.root, proof)


def _signature(line: str) -> tuple[str, bytes]:
    match = _SIGNATURE.fullmatch(line)
    if not match:
        raise SignatureError("not a signature line")
    body = base64.b64decode(match[2], validate=True)
    if len(body) < 5:
        raise SignatureError("a signature without a key")
    return f"{match[1]}+{body[:4].hex()}", body[4:]


def _controls(note: bytes) -> bool:
    return any(byte < 0x20 and byte != 0x0A for byte in note)
