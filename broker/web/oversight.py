"""What the pages of stewards, auditors and operators show; the rest is in ``views``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from broker.web.views import Act, Errors, Link, Moment, Names, View
from sulku.datasets import Dataset
from sulku.people import Person
from sulku.permits import Permit
from sulku.records import Beside
from sulku.tunnels import Tunnel

# --- steward ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the queue."""

    href: str
    id: str
    kind: str
    title: str
    who: str
    organisation: str
    state: str
    since: datetime | None
    days: int
    progress: str
    waits_for: str


@dataclass(frozen=True, slots=True)
class Queue(View):
    """What stewards have before them; ``show`` is needs, waiting or done, ``late`` the days of the second reminder."""

    TEMPLATE: ClassVar[str] = "queue.html"
    tabs: tuple[Link, ...]
    show: str
    cases: tuple[Case, ...]
    filters: Mapping[str, str]
    organisations: tuple[str, ...]
    query: str
    notices: Sequence[Moment] = ()
    late: int = 14


@dataclass(frozen=True, slots=True)
class Permits(View):
    """The permits that the reader may see."""

    TEMPLATE: ClassVar[str] = "permits.html"
    permits: Sequence[Permit]


@dataclass(frozen=True, slots=True)
class Tunnels(View):
    """Live tunnels and those that ended, for stewards and auditors."""

    TEMPLATE: ClassVar[str] = "tunnels.html"
    live: Sequence[Tunnel]
    over: Sequence[Tunnel]
    names: Names
    titles: Mapping[str, str]
    halt: bool


@dataclass(frozen=True, slots=True)
class Absence(View):
    """Until when the reader is away, and who stands in."""

    TEMPLATE: ClassVar[str] = "absence.html"
    me: Person
    others: Sequence[Person]
    names: Names
    given: Mapping[str, str] = field(default_factory=dict)
    errors: Errors = ()


# --- auditor ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a verification, as evidence: so many of so many."""

    name: str
    done: int
    total: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification found; ``failed`` is empty if nothing did."""

    checks: tuple[Check, ...]
    at: datetime
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Audit(View):
    """An auditor's home. ``seen`` is the checkpoint of their last visit, ``consistent`` what came of comparing it."""

    TEMPLATE: ClassVar[str] = "audit.html"
    size: int
    root: str
    checkpoint: str
    seen_size: int | None = None
    consistent: str = ""
    report: Report | None = None


@dataclass(frozen=True, slots=True)
class Sentence:
    """One ledger entry in words."""

    index: int
    at: datetime
    who: str
    role: str
    did: str
    what: str
    href: str
    noun: str
    kind: str
    refused: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Timeline(View):
    """The ledger as sentences; ``filters`` are what the URL says."""

    TEMPLATE: ClassVar[str] = "timeline.html"
    sentences: tuple[Sentence, ...]
    filters: Mapping[str, str]
    people: Names
    datasets: Sequence[Dataset]
    nouns: tuple[str, ...]
    query: str
    total: int | None = None
    newer: str = ""
    older: str = ""


@dataclass(frozen=True, slots=True)
class Entry(View):
    """One ledger entry: in words, as stored, and how to prove it; ``replayed`` is None until asked.

    Attributes:
        private: What stands beside it; ``opened`` if its texts are shown.
        erased: The erasure that took texts of it, and its legal ground, if one did.
        asked_kept: Whether what policy was asked is still there; None if it rests on no decision.
    """

    TEMPLATE: ClassVar[str] = "entry.html"
    sentence: Sentence
    stored: str
    leaf: str
    proof: tuple[str, ...]
    size: int
    root: str
    private: Sequence[Beside] = ()
    opened: bool = False
    erased: Sentence | None = None
    ground: str = ""
    asked_kept: bool | None = None
    decision: str = ""
    asked: str = ""
    answered: str = ""
    again: str = ""
    replayed: bool | None = None


@dataclass(frozen=True, slots=True)
class AccessRow:
    """One person who could read one version of a dataset, from when to when."""

    person: str
    version: str
    permit: str
    tunnel: str
    since: datetime | None
    until: datetime | None
    variables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Access(View):
    """Who could read a dataset, and when."""

    TEMPLATE: ClassVar[str] = "access.html"
    datasets: Sequence[Dataset]
    dataset: Dataset | None
    rows: tuple[AccessRow, ...]
    names: Names


@dataclass(frozen=True, slots=True)
class Why(View):
    """Why something was refused, in words, with who can act."""

    TEMPLATE: ClassVar[str] = "why.html"
    decision: str
    action: str
    at: datetime | None
    reasons: tuple[tuple[str, str], ...]  # code, sentence
    policy: str = ""


# --- operator ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class People(View):
    """The directory."""

    TEMPLATE: ClassVar[str] = "people.html"
    people: Sequence[Person]


@dataclass(frozen=True, slots=True)
class PersonPage(View):
    """One entry of the directory, or the form for a new one (``person`` is None)."""

    TEMPLATE: ClassVar[str] = "person.html"
    person: Person | None
    roles: tuple[tuple[str, str], ...]
    key: str
    given: Mapping[str, Any] = field(default_factory=dict)
    acts: tuple[Act, ...] = ()
    history: tuple[Moment, ...] = ()
    errors: Errors = ()


@dataclass(frozen=True, slots=True)
class System(View):
    """How the system itself is; nothing of data or decisions."""

    TEMPLATE: ClassVar[str] = "system.html"
    checks: tuple[tuple[str, bool, str], ...]
    facts: tuple[tuple[str, str], ...]
