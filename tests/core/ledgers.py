"""A small installation for the ledger's tests: keys, records, papers, a bundle of them, and what an attacker does."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sulku.codec import stamp
from sulku.crypto import seal, sign
from sulku.crypto.keys import Keyring, SigningKey
from sulku.errors import LedgerBrokenError
from sulku.ledger import archive, bundle, canonical, checkpoint, keyrings, tree
from sulku.ledger.verify import verify

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
ORIGIN = "sulku.test/ledger"
OLD, KEY, STRANGER = (SigningKey.generate(ORIGIN) for _ in range(3))
SALT = b"s" * 32


def ring(*, rotated: datetime | None = None) -> Keyring:
    """Return the ring of KEY, or of OLD until ``rotated`` and of KEY from then on."""
    if rotated is None:
        return Keyring().add(KEY.public, START)
    return Keyring().add(OLD.public, START).retire(OLD.public, rotated).add(KEY.public, rotated)


def at(index: int) -> datetime:
    """Return the time of a record: one a second."""
    return START + timedelta(seconds=index)


def record(index: int, body: dict[str, Any] | None = None, **fields: Any) -> bytes:
    """Return the bytes of a record; ``fields`` replace those of an ordinary one."""
    whole = {
        "v": 1, "index": index, "type": "tunnel.opened", "schema": 1, "noun": "tunnel", "id": f"tun_{index:016d}",
        "version": 1, "at": stamp(at(index)), "by": {"id": "usr_0000000000000001", "role": "researcher"},
        "clearance": {"decision": "dec_0000000000000001", "policy": "", "input": "", "engine": "regorus"},
        "body": body or {},
    }  # fmt: skip
    return canonical.encode(whole | fields)


def grow(entries: Iterable[bytes]) -> tree.Frontier:
    """Return the frontier of ``entries``."""
    frontier = tree.Frontier()
    for entry in entries:
        frontier.append(entry)
    return frontier


def note(entries: Sequence[bytes], key: SigningKey = KEY) -> bytes:
    """Return the signed checkpoint of ``entries``."""
    return checkpoint.make(checkpoint.Checkpoint(key.name, len(entries), grow(entries).root()), key)


@dataclass
class World:
    """What goes into a bundle; a test changes what it is about."""

    entries: list[bytes]
    key: SigningKey = KEY
    keyrings: list[bytes] = field(default_factory=lambda: [keyrings.publish(ring(), START, KEY)])
    earlier: list[bytes] = field(default_factory=list)
    permits: dict[str, bytes] = field(default_factory=dict)
    releases: dict[str, bytes] = field(default_factory=dict)
    decisions: list[bytes] = field(default_factory=list)
    openings: list[bundle.Opening] = field(default_factory=list)
    checkpoint: bytes = b""

    def build(self) -> bytes:
        """Return the bundle."""
        out = io.BytesIO()
        bundle.build(
            out, entries=self.entries, checkpoint=self.checkpoint or note(self.entries), keyrings=self.keyrings,
            key=self.key, earlier=self.earlier, permits=self.permits, releases=self.releases,
            decisions=self.decisions, openings=self.openings,
        )  # fmt: skip
        return out.getvalue()


def plain(size: int) -> World:
    """Return a ledger of ``size`` ordinary records and no papers."""
    return World([record(index) for index in range(size)])


def full() -> World:
    """Return a ledger of seven records with one paper of each kind, all of them as they should be."""
    policy = canonical.canonical({"files": {"permits.rego": "package sulku.permits"}})
    asked = canonical.canonical({"input": {"actor": "usr_1"}, "policy": seal.fingerprint(policy)})
    entries = [record(0, {"ring": "first"}), record(1)]
    permit_document = canonical.encode({"v": 1, "id": "per_1", "checkpoint": note(entries).decode()})
    release_document = canonical.encode({"v": 1, "id": "rel_1", "files": [{"name": "a.csv", "sha256": "0" * 64}]})
    permit, release = sign.sign(sign.PERMIT, permit_document, KEY), sign.sign(sign.RELEASE, release_document, KEY)
    clearance = {"decision": "dec_1", "policy": "", "input": seal.fingerprint(asked), "engine": "regorus"}
    entries += [
        record(2, {"document": seal.fingerprint(permit_document)}, clearance=clearance),
        record(3, {"reason": seal.commit(SALT, "not yet: n < 5")}),
        record(4, {"manifest": {"digest": seal.fingerprint(release)}}),
        record(5),
        record(6),
    ]
    return World(
        entries,
        earlier=[note(entries[:4])],
        permits={"per_1.1": permit},
        releases={"rel_1": release},
        decisions=[policy, asked],
        openings=[bundle.Opening(3, "body.reason", SALT, "not yet: n < 5")],
    )


def unzip(data: bytes) -> list[tuple[str, bytes]]:
    """Return a bundle's files in their order, read by another implementation of ZIP."""
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        return [(name, opened.read(name)) for name in opened.namelist()]


def rezip(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Return a well-formed archive of ``files``: what an attacker who knows the format would hand over."""
    out = io.BytesIO()
    writer = archive.Writer(out)
    for path, data in files:
        writer.add(path, data)
    writer.close()
    return out.getvalue()


def edit(data: bytes, path: str, change: Callable[[bytes], bytes]) -> bytes:
    """Return the bundle with one file changed and the archive put in order again."""
    files = unzip(data)
    assert path in dict(files), path
    return rezip((name, change(held) if name == path else held) for name, held in files)


def flip(data: bytes, place: int, mask: int = 1) -> bytes:
    """Return ``data`` with bits of one byte turned."""
    return data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]


def broken(data: bytes, *, records: bool = True) -> LedgerBrokenError:
    """Return what the verifier says of a bundle whose ledger is broken."""
    with pytest.raises(LedgerBrokenError) as caught:
        verify(data, [KEY.public], records=records)
    return caught.value
