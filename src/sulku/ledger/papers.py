"""The first half of verifying a bundle: everything before the tiles, and what it claims of the records to come."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import orjson

from sulku.codec import stamp
from sulku.crypto import seal, sign
from sulku.crypto.keys import Keyring, Lived, PublicKey
from sulku.errors import (
    BundleError,
    CommitmentError,
    InvalidInputError,
    LedgerBrokenError,
    NotCanonicalError,
    SignatureError,
)
from sulku.ledger import bundle, canonical, checkpoint, keyrings

CLAIMS: Final = 1_000_000  # papers, checkpoints, openings or digests that are held in memory at once; else refused
RINGS: Final = 1000
DIGEST: Final = re.compile(rb"sha256:([0-9a-f]{64})")
_KINDS: Final = {"permits": sign.PERMIT, "releases": sign.RELEASE}


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed document that some record must mention, and who signed it."""

    path: str
    digests: tuple[bytes, ...]
    signers: tuple[Lived, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """Somebody holds a checkpoint: at its size the ledger must have this root."""

    where: str
    root: bytes
    signers: tuple[Lived, ...]


@dataclass(slots=True)
class Papers:
    """What the papers claim. Digests are the 64 hexadecimal digits as bytes.

    Attributes:
        trusted: Keys that the reader gave.
        trail: The digest of the papers so far.
        ring: The keys believed; ``anchored``: because one that was given leads to them.
        head: The checkpoint, once read.
        claims: Size to the roots that somebody holds for it.
        signed: Digest of a document, or of its envelope, to what must be recorded.
        blobs: Digest of a file of a decision to the digests that it mentions.
        openings: Index of a record to pairs of field and the commitment expected there.
        counts: Papers by section.
    """

    trusted: tuple[PublicKey, ...]
    trail: bundle.PaperTrail = field(default_factory=bundle.PaperTrail)
    ring: Keyring = field(default_factory=Keyring)
    anchored: bool = False
    head: checkpoint.Checkpoint | None = None
    claims: dict[int, list[Claim]] = field(default_factory=dict)
    signed: dict[bytes, Signed] = field(default_factory=dict)
    blobs: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict)
    openings: dict[int, list[tuple[str, str]]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    _last: tuple[int, str] = (-1, "")
    _held: int = 0

    def take(self, path: str, data: bytes) -> None:
        """Read the next paper.

        Raises:
            BundleError: It is out of place, malformed, or there are too many.
            SignatureError: A signature in it does not fit.
            UnknownKeyError: Nobody trusted signed it.
        """
        rank = next((n for n, name in enumerate(bundle.SECTIONS) if path == name or _inside(path, name)), None)
        if rank is None or (rank, path) <= self._last or (rank > 2) != (self.head is not None):
            raise BundleError(f"{path[:100]} does not belong here")
        self._last = rank, path
        self.trail.add(path, data)
        section = path.partition("/")[0]
        self.counts[section] = self.counts.get(section, 0) + 1
        readers: dict[str, Callable[[str, bytes], None]] = {
            bundle.KEYS: self._take_keys,
            bundle.CHECKPOINT: self._take_checkpoint,
            "checkpoints": self._take_checkpoint,
            "permits": self._take_signed,
            "releases": self._take_signed,
            "decisions": self._take_decision,
            "private": self._take_openings,
        }
        try:
            readers.get(section, _ignore)(path, data)
        except SignatureError as error:
            raise type(error)(f"{path}: {error}") from None
        except (NotCanonicalError, KeyError, TypeError, ValueError, InvalidInputError) as error:
            raise BundleError(f"{path}: not what belongs there ({str(error)[:200]})") from None

    def know(self, note: bytes, where: str) -> None:
        """Read a checkpoint that somebody holds; the ledger must agree with it.

        Raises:
            SignatureError: It is malformed, of another ledger, or its signature does not fit.
            LedgerBrokenError: It is of a longer ledger.
        """
        assert self.head is not None
        found, signers = checkpoint.verify(note, self.ring, self.head.origin)
        if found.size > self.head.size:
            raise LedgerBrokenError(
                f"{where} holds a checkpoint of {found.size} records; this ledger was cut to {self.head.size}",
                index=self.head.size,
                last=found.size - 1,
            )
        self._hold()
        self.claims.setdefault(found.size, []).append(Claim(where, found.root, signers))

    def mention(self, digests: Iterable[bytes], at: datetime) -> None:
        """Strike off the signed documents that a record of time ``at`` mentions.

        Raises:
            SignatureError: No key that signed the document was in use then.
        """
        for digest in digests:
            if found := self.signed.get(digest):
                try:
                    sign.check_lived(found.signers, at)
                except SignatureError as error:
                    raise SignatureError(f"{found.path}, recorded at {stamp(at)}: {error}") from None
                for each in found.digests:
                    self.signed.pop(each, None)

    def check_openings(self, index: int, record: dict[str, Any]) -> None:
        """Compare the opened commitments of a record with what it holds.

        Raises:
            CommitmentError: One does not open what is there.
        """
        for place, expected in self.openings.pop(index, ()):
            held: Any = record
            for step in place.split("."):
                held = held.get(step) if isinstance(held, dict) else None
            if held != expected:
                raise CommitmentError(f"private/{index:016d}.json does not open {place} of record {index}")

    def _take_keys(self, path: str, data: bytes) -> None:
        rings = canonical.decode(data)["rings"]
        if len(rings) > RINGS:
            raise BundleError(f"{path}: {len(rings)} rings; at most {RINGS} are read")
        self.ring, self.anchored = keyrings.follow([canonical.canonical(ring) for ring in rings], self.trusted)

    def _take_checkpoint(self, path: str, data: bytes) -> None:
        if self.head is None:
            origin = checkpoint.parse(data).checkpoint.origin
            self.head = checkpoint.verify(data, self.ring, origin)[0]
        elif path != f"checkpoints/{checkpoint.parse(data).checkpoint.size:016d}":
            raise BundleError(f"{path}: holds a checkpoint of another size")
        self.know(data, path)

    def _take_signed(self, path: str, data: bytes) -> None:
        opened = sign.open_envelope(data, self.ring, _KINDS[path.partition("/")[0]])
        document = parse_json(opened.payload)
        if isinstance(document, dict) and isinstance(note := document.get("checkpoint"), str):
            self.know(note.encode(), path)
        digests = tuple(hashlib.sha256(each).hexdigest().encode() for each in (opened.payload, data))
        self._hold(len(digests))
        self.signed.update(dict.fromkeys(digests, Signed(path, digests, opened.signers)))

    def _take_decision(self, path: str, data: bytes) -> None:
        digest = hashlib.sha256(data).hexdigest()
        if path != f"decisions/{digest}.json":
            raise BundleError(f"{path}: its bytes are not those it is named after")
        mentioned = tuple(set(DIGEST.findall(data)))
        self._hold(1 + len(mentioned))
        self.blobs[digest.encode()] = mentioned

    def _take_openings(self, path: str, data: bytes) -> None:
        found = canonical.decode(data)
        if path != f"private/{found['index']:016d}.json":
            raise BundleError(f"{path}: holds openings of another record")
        if not all(isinstance(row["field"], str) and isinstance(row["text"], str) for row in found["openings"]):
            raise BundleError(f"{path}: a field or a text is not text")
        rows = [(row["field"], seal.commit(bytes.fromhex(row["salt"]), row["text"])) for row in found["openings"]]
        self._hold(len(rows))
        self.openings[found["index"]] = rows

    def _hold(self, count: int = 1) -> None:
        self._held += count
        if self._held > CLAIMS:
            raise BundleError(f"more than {CLAIMS} claims to check at once; ask for a bundle of fewer papers")


def parse_json(data: bytes) -> Any:
    """Return the JSON value in ``data``, or None; for messages about bytes that may be anything."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def _inside(path: str, section: str) -> bool:
    return section.endswith("/") and path.startswith(section)


def _ignore(path: str, data: bytes) -> None:
    """README.txt says nothing that is believed."""
