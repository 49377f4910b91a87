"""Verify a bundle offline, front to back, holding one file at a time.

A record is compared with its hash in the level-0 tile, the tiles with each other, and the whole with the signed root:
so a changed byte is reported as the record that it is in. What decides between a record and its hash is the root.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, NamedTuple

from sulku.codec import unstamp
from sulku.crypto import sign
from sulku.crypto.keys import Lived, PublicKey
from sulku.errors import (
    BundleError,
    IntegrityError,
    InvalidInputError,
    LedgerBrokenError,
    NotCanonicalError,
    SignatureError,
)
from sulku.ledger import archive, bundle, canonical, tiles, tree
from sulku.ledger.papers import DIGEST, Papers, parse_json

Progress = Callable[[str, int, int], None]
"""Called with the name of the check, how many are done and how many there are."""

_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
_READABLE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,80}")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked: ``done`` of ``total``, and in words what was found."""

    name: str
    done: int
    total: int
    detail: str


@dataclass(frozen=True, slots=True)
class Report:
    """What holds of a bundle; it exists only if all of it does.

    Attributes:
        origin: The ledger's name.
        size: Number of records.
        root: Root hash, hexadecimal.
        anchored: Whether a key that the reader gave vouches for the keys used here; if not, ``keys`` must be compared.
        keys: The keys in the bundle, with the time of each.
        checks: What was checked, in order.
    """

    origin: str
    size: int
    root: str
    anchored: bool
    keys: tuple[Lived, ...]
    checks: tuple[Check, ...]


def verify(
    source: bytes | archive.Source,
    trusted: Iterable[PublicKey] = (),
    *,
    known: Iterable[bytes] = (),
    records: bool = True,
    progress: Progress | None = None,
) -> Report:
    """Check everything in a bundle.

    Args:
        source: The bundle; a stream is only read front to back.
        trusted: Keys that the reader has from elsewhere. None: the bundle's own are believed, and the report says so.
        known: Signed checkpoints that the reader kept from earlier visits or found in papers.
        records: Also read each record: its form, its order, and which papers it mentions. Without it only hashes.
        progress: Called after each 256 records.

    Raises:
        LedgerBrokenError: The records are not those that were signed; names the first bad one.
        SignatureError: A checkpoint, ring, permit, release or manifest was edited or signed by a key not in use then.
        UnknownKeyError: Nobody trusted signed one of them.
        CommitmentError: An opened commitment does not open what the record holds.
        BundleError: The archive itself is damaged or hostile.
    """
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    return _Run(stream, Papers(tuple(trusted)), records, progress or _silent).run(tuple(known))


class Suspect(NamedTuple):
    """Records ``index`` to ``last`` do not fit their hash in the tile at ``path``."""

    first: int
    last: int
    path: str
    record: str = ""
    note: str = ""


class _Run:
    """One verification. ``suspect`` is the first place where hashes disagree, until the root decides who is right."""

    def __init__(self, stream: archive.Source, papers: Papers, records: bool, progress: Progress) -> None:
        self.reader = archive.Reader(stream, _limit)
        self.papers, self.records, self.progress = papers, records, progress
        self.member = self.reader.next()
        self.suspect: Suspect | None = None
        self.levels: list[list[bytes]] = [[]]  # complete subtrees of 256**L leaves; level 0 holds only those past them
        self.partial: dict[int, list[bytes]] = {}  # size of an earlier tree -> its leaves past the last full tile
        self.at = ""
        self.reached: set[bytes] = set()

    def run(self, known: Sequence[bytes]) -> Report:
        """Take the bundle in its order."""
        papers = self.papers
        while self.member and not self.member.path.startswith("tile/") and self.member.path != bundle.MANIFEST:
            self.member.check()
            papers.take(self.member.path, self.member.data)
            self.member = self.reader.next()
        if papers.head is None:
            raise BundleError("there is no checkpoint in this file; is it a bundle?")
        for note in known:
            papers.know(note, "a checkpoint that you kept")
        self.head = papers.head
        try:
            self._read_entries()
            self._read_upper()
        except IntegrityError:
            self._blame(confirmed=False)  # what disagreed first explains what came after it
            raise
        self._check_root()
        self._check_papers()
        self._check_manifest()
        return self._report(known)

    def _read_entries(self) -> None:
        size, wanted = self.head.size, sorted(self.papers.claims)
        for n, width in tiles.widths(size):
            first = n * tiles.WIDTH
            bundled, tile = self._take(tiles.ENTRIES, n, width, first), self._take(0, n, width, first)
            entries = tiles.unpack(bundled.data)
            hashes = [sha256(b"\x00" + entry).digest() for entry in entries]
            if b"".join(hashes) != tile.data or len(hashes) != width:
                self._suspect_entry(first, width, entries, hashes, tile.data)
            elif not bundled.data.endswith(tiles.pack(entries[-1:])):  # the last may be cut and yet fit its hash
                raise _broken(first + width - 1, entries[-1], "the length before the record is not its own")
            elif not self.suspect:
                bundled.check()
                tile.check()
                self._read_records(first, entries)
            while wanted and wanted[0] <= first + width:
                if wanted[0] % tiles.WIDTH:
                    self.partial[wanted[0]] = hashes[: wanted[0] - first]
                wanted.pop(0)
            if width == tiles.WIDTH:
                self._push(tree.fold(hashes))
            else:
                self.levels[0] = hashes
            self.progress("records", first + width, size)

    def _push(self, root: bytes) -> None:
        if len(self.levels) == 1:
            self.levels.append([])
        self.levels[1].append(root)

    def _read_records(self, first: int, entries: list[bytes]) -> None:
        papers = self.papers
        for index, entry in enumerate(entries, first):
            claims, openings = papers.claims.get(index + 1, ()), index in papers.openings
            if not (self.records or claims or openings):
                continue
            record = self._read_record(index, entry)
            for claim in claims:
                if not any(lived.until is None or lived.until >= unstamp(self.at) for lived in claim.signers):
                    raise SignatureError(f"{claim.where}: signed by a key that was retired before its last record")
            if openings:
                papers.check_openings(index, record)
            if self.records and (papers.signed or papers.blobs):
                digests = DIGEST.findall(entry)
                papers.mention((digest for digest in digests if digest in papers.signed), unstamp(self.at))
                self.reached.update(digest for digest in digests if digest in papers.blobs)

    def _read_record(self, index: int, entry: bytes) -> dict[str, Any]:
        try:
            record = canonical.decode(entry)
            canonical.check_record(record)
            if record["at"] != self.at:
                _check_time(record["at"])
        except (NotCanonicalError, InvalidInputError) as error:
            raise _broken(index, entry, f"is no record: {error}") from None
        if record["index"] != index:
            raise _broken(index, entry, f"says that it is record {record['index']}")
        if record["at"] < self.at:
            raise _broken(index, entry, f"is of {record['at']}, before the record in front of it ({self.at})")
        self.at = record["at"]
        return record

    def _read_upper(self) -> None:
        for level, count in enumerate(tiles.level_sizes(self.head.size)[1:], 1):
            row, above = self.levels[level], list[bytes]()
            for n, width in tiles.widths(count):
                span = tiles.WIDTH**level
                start = n * tiles.WIDTH
                mine, tile = row[start : start + width], self._take(level, n, width, start * span)
                if b"".join(mine) != tile.data:
                    place = start + _differs(mine, tile.data)
                    last = min((place + 1) * span, self.head.size) - 1
                    self.suspect = self.suspect or Suspect(place * span, last, tile.path)
                tile.check()
                if width == tiles.WIDTH:
                    above.append(tree.fold(mine))
            if above:
                self.levels.append(above)

    def _check_root(self) -> None:
        size = self.head.size
        whole = self._root_at(size) == self.head.root
        self._blame(confirmed=whole)
        good = 0  # the longest beginning on which all who hold a checkpoint agree
        for held in sorted(self.papers.claims):
            for claim in self.papers.claims[held]:
                if self._root_at(held) != claim.root:
                    problem = f"records and tiles agree with each other, but not with the root in {claim.where}"
                    raise LedgerBrokenError(problem, index=min(good, held - 1), last=held - 1)
            good = held

    def _root_at(self, size: int) -> bytes:
        rows = []
        for level, count in enumerate(tiles.level_sizes(size)):
            full = count - count % tiles.WIDTH
            if level:
                rows.append(self.levels[level][full:count])
            else:
                rows.append(self.levels[0] if size == self.head.size else self.partial.get(size, []))
        return tiles.root_of(rows)

    def _take(self, level: int | str, n: int, width: int, first: int) -> archive.Member:
        """Return the file that must come now; what is missing or too much is told by its first record."""
        found, path = self.member, tiles.tile_path(level, n, width)
        if found is None or found.path != path:
            whole, _, shown = (found.path if found else "").partition(".p/")
            if level not in {0, tiles.ENTRIES} and found and found.path.startswith("tile/entries/"):
                first = self.head.size  # records beyond what was signed
            elif found and whole == path.partition(".p/")[0]:  # the right tile, of another width
                first += min(width, int(shown) if shown.isdecimal() else tiles.WIDTH)
            here = found.path if found else "nothing"
            problem = f"the checkpoint counts {self.head.size} records; {path} should come here, not {here}"
            raise LedgerBrokenError(problem, index=first)
        self.member = self.reader.next()
        return found

    def _suspect_entry(self, first: int, width: int, entries: list[bytes], hashes: list[bytes], tile: bytes) -> None:
        place = _differs(hashes, tile)
        index, entry = first + place, entries[place] if place < len(entries) else b""
        if place >= width or len(hashes) != width or len(tile) != width * tree.BYTES:
            self._blame(confirmed=False)
            raise _broken(index, entry, f"{len(hashes)} records and {len(tile) // tree.BYTES} hashes, not {width}")
        moved = next((n for n in range(width) if tile[n * tree.BYTES : (n + 1) * tree.BYTES] == hashes[place]), None)
        note = "" if moved is None else f"record {first + moved} stands in its place and "
        path = tiles.tile_path(0, first // tiles.WIDTH, width)
        self.suspect = self.suspect or Suspect(index, index, path, _name(entry), note)

    def _blame(self, *, confirmed: bool) -> None:
        """Raise for the suspect, if there is one; ``confirmed``: the records as they are give the signed root."""
        if self.suspect is None:
            return
        first, last, path, record, note = self.suspect
        problem = f"{note}does not fit its hash in {path}"
        if confirmed:
            problem = f"the hash in {path} was changed; what it stands for is as it was signed"
        raise LedgerBrokenError(problem, index=first, last=last, record=record)

    def _check_papers(self) -> None:
        papers = self.papers
        if papers.openings:
            raise BundleError(f"private/{min(papers.openings):016d}.json: there is no such record")
        if not self.records:
            return
        if papers.signed:
            left = min(paper.path for paper in papers.signed.values())
            raise LedgerBrokenError(f"no record mentions {left}: it was signed outside the ledger")
        waiting = list(self.reached)
        while waiting:
            for digest in papers.blobs.get(waiting.pop(), ()):
                if digest in papers.blobs and digest not in self.reached:
                    self.reached.add(digest)
                    waiting.append(digest)
        if left_over := papers.blobs.keys() - self.reached:
            raise LedgerBrokenError(f"no record mentions decisions/{min(left_over).decode()}.json")

    def _check_manifest(self) -> None:
        if self.member is None or self.member.path != bundle.MANIFEST:
            here = self.member.path if self.member else "nothing"
            raise BundleError(f"{bundle.MANIFEST} should come here, not {here}")
        self.member.check()
        try:
            opened = sign.open_envelope(self.member.data, self.papers.ring, sign.MANIFEST)
        except SignatureError as error:
            raise type(error)(f"{bundle.MANIFEST}: {error}") from None
        if all(lived.until is not None for lived in opened.signers):
            raise SignatureError(f"{bundle.MANIFEST}: signed by a retired key")
        if opened.payload != canonical.encode(self.papers.trail.manifest(self.head)):
            raise SignatureError(f"{bundle.MANIFEST}: a paper was changed, added or taken out")
        self.reader.finish()

    def _report(self, known: Sequence[bytes]) -> Report:
        papers, size, counts = self.papers, self.head.size, self.papers.counts
        read = self.records
        anchor = "vouched for by a key that you gave" if papers.anchored else "taken on trust: compare the fingerprint"
        named = "as the ledger names them" if read else "digests only"
        held = sum(map(len, papers.claims.values()))
        linked = "signed, and in the ledger" if read else "signed; records were not read"
        checks = [
            Check("keys", len(papers.ring.keys), len(papers.ring.keys), anchor),
            Check("checkpoint", 1, 1, f"{size} records, root {self.head.root.hex()}"),
            Check("hashes", size, size, "each record, each tile and the signed root"),
            Check("records", size if read else 0, size, "form, order and time" if read else "not asked for"),
            Check("consistency", held, held, f"checkpoints in the bundle, in its papers and {len(known)} kept by you"),
        ]
        for section in ("permits", "releases"):
            count = counts.get(section, 0)
            checks.append(Check(section, count, count, linked))
        checks += [
            Check("decisions", len(self.reached), len(papers.blobs), named),
            Check("private", counts.get("private", 0), counts.get("private", 0), "commitments opened, as recorded"),
            Check("manifest", sum(counts.values()), sum(counts.values()), "papers, none changed, added or taken out"),
        ]
        return Report(self.head.origin, size, self.head.root.hex(), papers.anchored, papers.ring.keys, tuple(checks))


def _broken(index: int, entry: bytes, problem: str) -> LedgerBrokenError:
    return LedgerBrokenError(problem, index=index, record=_name(entry))


def _name(entry: bytes) -> str:
    held = parse_json(entry)
    name = held.get("id") if isinstance(held, dict) else None
    return name if isinstance(name, str) and _READABLE.fullmatch(name) else ""


def _check_time(at: str) -> None:
    if not _TIME.fullmatch(at):
        raise NotCanonicalError("a time is written as 2026-01-31T12:00:00.000Z")
    unstamp(at)


def _differs(hashes: list[bytes], tile: bytes) -> int:
    for place, made in enumerate(hashes):
        if tile[place * tree.BYTES : (place + 1) * tree.BYTES] != made:
            return place
    return len(hashes)


def _limit(path: str) -> int:
    if path.startswith("tile/entries/"):
        return tiles.BUNDLE_LIMIT
    return tiles.WIDTH * tree.BYTES if path.startswith("tile/") else bundle.PAPER_LIMIT


def _silent(name: str, done: int, total: int) -> None:
    """Report to nobody."""
