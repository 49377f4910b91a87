"""What is asked of everything recorded, and what comes back: searches, access lists, proofs, replays and notices."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sulku.codec import Plain


@dataclass(frozen=True, slots=True)
class Search:
    """What of the ledger to show; an empty field does not narrow.

    Attributes:
        person: Who acted, or whose record it is.
        noun: A prefix, such as ``tun``.
        type: An event's type (``tunnel.opened``) or the part before the dot.
        dataset: Only what happened to it, or to an application or under a permit that names it.
        record: One record.
        outcome: ``clearance``, ``refusal`` or ``mandate``.
        since: From this moment on.
        until: Before this moment.
    """

    person: str = ""
    noun: str = ""
    type: str = ""
    dataset: str = ""
    record: str = ""
    outcome: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A page of entries, newest first, as documents; ``before`` continues it, ``None`` at the end."""

    entries: tuple[dict[str, Plain], ...]
    before: int | None


@dataclass(frozen=True, slots=True)
class Access:
    """One person could read one dataset version from ``since`` to ``until`` (``None``: can now)."""

    person: str
    permit: str
    tunnel: str
    mount: str
    edition: str
    since: datetime
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Proof:
    """What shows anybody that an entry is in the ledger that a checkpoint signed.

    Attributes:
        entry: The record's exact bytes.
        size: The tree's size at the checkpoint.
        hashes: RFC 6962 inclusion proof, 32 bytes each, from the leaf up.
        checkpoint: The signed note.
    """

    index: int
    entry: bytes
    size: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes


@dataclass(frozen=True, slots=True)
class Replay:
    """A decision asked again: ``same`` is whether ``again`` equals ``answered`` bit for bit."""

    decision: str
    policy: str
    engine: str
    asked: str
    answered: str
    again: str
    same: bool


@dataclass(frozen=True, slots=True)
class Verified:
    """One check of a verification: so many of so many, and what they were."""

    name: str
    done: int
    total: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """One person was told that ``what`` happened to the record ``about``; ``seen`` is when they read it."""

    id: int
    person: str
    what: str
    about: str
    at: datetime
    seen: datetime | None


@dataclass(frozen=True, slots=True)
class Held:
    """What an erasure of ``record`` would take: kinds (an event's type and field), how many texts, and how many decisions."""

    record: str
    kinds: tuple[str, ...]
    texts: int
    decisions: int


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased about ``record``; nothing, and no entry, if nothing was left."""

    record: str
    texts: int
    decisions: int
    entries: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Beside:
    """One text beside an entry, which holds only a commitment to it.

    Attributes:
        field: Which field of the entry's body.
        text: JSON; ``None`` if it is erased, or was not asked for.
        fits: Whether salt and text open the commitment; ``None`` if the text is erased.
    """

    field: str
    text: str | None
    fits: bool | None


@dataclass(frozen=True, slots=True)
class Opened:
    """What stands beside an entry.

    Attributes:
        texts: One for each field that the entry only commits to.
        erased: The entry (a document) of the erasure that took texts of it, if one did.
        asked: Whether what policy was asked is still kept; ``None`` if the entry rests on no decision of its own.
    """

    texts: tuple[Beside, ...]
    erased: dict[str, Plain] | None
    asked: bool | None
