"""The auditor's bundle: one file in which the ledger and the papers under it can be checked without any server.

In this order, which is part of the format (the reader holds one file at a time):

* ``README.txt``: what this is and the command that checks it
* ``keys.json``: the rings of public keys, oldest first, each signed (``keyrings``)
* ``checkpoint``, ``checkpoints/SIZE``: the ledger's size and root, signed; earlier ones to be consistent with
* ``permits/NAME.json``, ``releases/NAME.json``: signed documents; the ledger must hold the digest of each
* ``decisions/SHA256.json``: what policy decided on: bundles, inputs, outputs, named by their digest
* ``private/INDEX.json``: opened commitments of record INDEX; left out unless the auditor may read them
* ``tile/...``: the ledger in the layout of C2SP tlog-tiles
* ``manifest.json``: the digest of all the papers before the tiles, signed by a key in use
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from sulku.crypto import sign
from sulku.crypto.keys import SigningKey
from sulku.errors import InvalidInputError, LedgerBrokenError
from sulku.ledger import archive, canonical, checkpoint, tiles, tree
from sulku.ledger.keyrings import follow

README, KEYS, CHECKPOINT, MANIFEST = "README.txt", "keys.json", "checkpoint", "manifest.json"
SECTIONS: Final = (README, KEYS, CHECKPOINT, "checkpoints/", "permits/", "releases/", "decisions/", "private/")
PAPER_LIMIT: Final = 16 * 1024 * 1024  # bytes of any file but tiles and entries

_README = """\
The ledger {origin}, {size} records, for an auditor.

Check it, without a network and without the system that wrote it:

    sulku ledger verify BUNDLE --key '{vkey}'

Take the key from whoever runs the system, on paper or by telephone, not from this file. Its fingerprint here:

    {fingerprint}

The format is described in sulku's reference manual. The tiles follow C2SP tlog-tiles, the checkpoint C2SP
tlog-checkpoint, the signed documents DSSE; other tools read them too.
"""


@dataclass(frozen=True, slots=True)
class Opening:
    """What opens one commitment: record ``index`` holds at ``field`` (``body.reason``) the commitment to ``text``."""

    index: int
    field: str
    salt: bytes
    text: str


class PaperTrail:
    """The digest of all papers in their order: an RFC 6962 tree over ``path``, newline, SHA-256 of the bytes."""

    def __init__(self) -> None:
        """Begin with no papers."""
        self._tree = tree.Frontier()

    def add(self, path: str, data: bytes) -> None:
        """Take the next paper."""
        self._tree.append(path.encode() + b"\n" + hashlib.sha256(data).digest())

    def manifest(self, head: checkpoint.Checkpoint) -> dict[str, Any]:
        """Return the document that binds the papers to the ledger."""
        papers = {"count": self._tree.size, "root": self._tree.root().hex()}
        return {"v": 1, "origin": head.origin, "size": head.size, "root": head.root.hex(), "papers": papers}


def build(
    out: archive.Sink,
    *,
    entries: Iterable[bytes],
    checkpoint: bytes,
    keyrings: Sequence[bytes],
    key: SigningKey,
    earlier: Iterable[bytes] = (),
    permits: Mapping[str, bytes] | None = None,
    releases: Mapping[str, bytes] | None = None,
    decisions: Iterable[bytes] = (),
    openings: Iterable[Opening] = (),
) -> None:
    """Write a bundle; the same arguments give the same bytes. Holds the papers, one entry bundle and the upper tiles.

    Args:
        out: Where to; only written, front to back.
        entries: Every record's bytes, in order.
        checkpoint: The signed checkpoint of exactly these.
        keyrings: Rings as ``keyrings.publish`` made them, oldest first; the last holds ``key``, in use.
        key: Signs the manifest.
        earlier: Signed checkpoints of smaller sizes.
        permits: Envelopes by name (``per_….1``); some record must hold the SHA-256 of each or of its payload.
        releases: The same.
        decisions: Canonical JSON; some record, or another of these, must hold the SHA-256 of each.
        openings: Commitments to open.

    Raises:
        LedgerBrokenError: The entries are not those that the checkpoint signed. What was written is then no bundle.
        SignatureError: A checkpoint or a ring is malformed.
        UnknownKeyError: The last ring does not hold ``key``.
        BundleError: A name cannot be a path.
        InvalidInputError: A paper is too large.
    """
    follow(keyrings)[0].find(key.public.hint)
    head, trail, writer = _parse(checkpoint), PaperTrail(), archive.Writer(out)
    papers = [(README, _readme(head, key)), (KEYS, _rings(keyrings)), (CHECKPOINT, checkpoint)]
    papers += sorted((f"checkpoints/{_parse(note).size:016d}", note) for note in set(earlier) - {checkpoint})
    papers += sorted((f"permits/{name}.json", data) for name, data in (permits or {}).items())
    papers += sorted((f"releases/{name}.json", data) for name, data in (releases or {}).items())
    papers += sorted({f"decisions/{hashlib.sha256(data).hexdigest()}.json": data for data in decisions}.items())
    for path, data in (*papers, *_openings(openings)):
        if len(data) > PAPER_LIMIT:
            raise InvalidInputError(f"{path} has {len(data)} bytes; at most {PAPER_LIMIT} fit into a bundle")
        trail.add(path, data)
        writer.add(path, data)
    root = _add_tiles(writer, entries)
    if root != (head.size, head.root):
        raise LedgerBrokenError(f"the checkpoint is not of these {root[0]} records: {head.size} and another root")
    writer.add(MANIFEST, sign.sign(sign.MANIFEST, canonical.encode(trail.manifest(head)), key))
    writer.close()


def _add_tiles(writer: archive.Writer, entries: Iterable[bytes]) -> tuple[int, bytes]:
    seen = tree.Frontier()

    def watched() -> Iterator[bytes]:
        for entry in entries:
            seen.append(entry)
            yield entry

    for path, data in tiles.tiles(watched()):
        writer.add(path, data)
    return seen.size, seen.root()


def _parse(note: bytes) -> checkpoint.Checkpoint:
    return checkpoint.parse(note).checkpoint


def _readme(head: checkpoint.Checkpoint, key: SigningKey) -> bytes:
    public = key.public
    text = _README.format(origin=head.origin, size=head.size, vkey=public.vkey, fingerprint=public.fingerprint)
    return text.encode()


def _rings(envelopes: Sequence[bytes]) -> bytes:
    return canonical.encode({"v": 1, "rings": [orjson.loads(envelope) for envelope in envelopes]})


def _openings(openings: Iterable[Opening]) -> Iterator[tuple[str, bytes]]:
    by_record: dict[int, list[Opening]] = {}
    for opening in openings:
        by_record.setdefault(opening.index, []).append(opening)
    for index in sorted(by_record):
        rows = sorted((each.field, each.salt.hex(), each.text) for each in by_record[index])
        shown = [{"field": field, "salt": salt, "text": text} for field, salt, text in rows]
        yield f"private/{index:016d}.json", canonical.encode({"v": 1, "index": index, "openings": shown})
