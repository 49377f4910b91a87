"""What each page shows, as data: one frozen dataclass a page, whose ``TEMPLATE`` gets it as ``v`` and sees nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from sulku.applications import Application
from sulku.datasets import Dataset, Edition
from sulku.outputs import Output
from sulku.permits import Permit
from sulku.releases import Release
from sulku.rounds import FilesChanged
from sulku.tunnels import Tunnel

Errors = Sequence[tuple[str, str]]  # (field, what is wrong with it)
Names = Mapping[str, str]  # id of a person -> name
Words = tuple[tuple[str, bool], ...]  # a text in pieces, and whether each is marked

# --- parts of pages ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Link:
    """A way to another page."""

    text: str
    href: str
    current: bool = False
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """Something that the reader may do, or why not now. ``post`` acts at once; else it leads to a page that asks."""

    label: str
    href: str
    tone: str = ""  # "", plain, bad
    post: bool = False
    against: tuple[str, ...] = ()  # sentences; each says who can act or what would have to change
    version: int = 0
    key: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of *What happened*."""

    at: datetime
    title: str
    who: str
    href: str = ""
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One step of something that takes a while; ``state`` is done, now, waiting or failed."""

    title: str
    state: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """One section of an application."""

    title: str
    href: str
    status: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """What surrounds every page. ``roles`` are those that the reader may switch to."""

    path: str
    now: datetime
    name: str = ""
    role: str = ""
    roles: tuple[str, ...] = ()
    nav: tuple[Link, ...] = ()
    practice: bool = False
    signed_in: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """Base of every page. ``errors`` are shown as a summary and beside their fields."""

    TEMPLATE: ClassVar[str]


# --- for everybody ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Front(View):
    """The first page."""

    TEMPLATE: ClassVar[str] = "front.html"
    datasets: int
    permits: int


@dataclass(frozen=True, slots=True)
class Accessibility(View):
    """How accessible the pages are, and whom to tell."""

    TEMPLATE: ClassVar[str] = "accessibility.html"


@dataclass(frozen=True, slots=True)
class Help(View):
    """How things work, and what the words mean; ``glossary`` is rows of word and meaning."""

    TEMPLATE: ClassVar[str] = "help.html"
    glossary: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Register(View):
    """The public register of permits; ``rows`` are ``broker.flows.permits.Listed``."""

    TEMPLATE: ClassVar[str] = "register.html"
    rows: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Catalogue(View):
    """Every dataset."""

    TEMPLATE: ClassVar[str] = "catalogue.html"
    datasets: Sequence[Dataset]


@dataclass(frozen=True, slots=True)
class DatasetPage(View):
    """One dataset."""

    TEMPLATE: ClassVar[str] = "dataset.html"
    dataset: Dataset
    edition: Edition
    acts: tuple[Act, ...] = ()
    history: tuple[Moment, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem(View):
    """A refusal or a fault; ``reasons`` are sentences, ``reference`` finds it in the records."""

    TEMPLATE: ClassVar[str] = "problem.html"
    code: str
    title: str
    detail: str
    remedy: str
    reference: str = ""
    fields: Errors = ()
    reasons: Sequence[str] = ()
    status: int = 500
    back: str = "/"


@dataclass(frozen=True, slots=True)
class Confirm(View):
    """One question before something that is hard to undo."""

    TEMPLATE: ClassVar[str] = "confirm.html"
    title: str
    consequence: tuple[str, ...]
    button: str
    action: str
    back: str
    tone: str = "bad"
    reason: str = ""  # label of the field for the reason; empty if none is asked
    reason_hint: str = ""
    reason_required: bool = True
    hidden: tuple[tuple[str, str], ...] = ()
    number: str = ""  # label of a field for a number; empty if none is asked
    version: int = 0
    key: str = ""
    command: str = ""
    given: Mapping[str, str] = field(default_factory=dict)
    errors: Errors = ()


# --- researcher -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Work(View):
    """A researcher's home."""

    TEMPLATE: ClassVar[str] = "work.html"
    applications: Sequence[Application]
    permits: Sequence[Permit]
    tunnels: Sequence[Tunnel]
    releases: Sequence[Release]
    notices: Sequence[Moment] = ()


@dataclass(frozen=True, slots=True)
class TaskList(View):
    """An application that its people are still writing."""

    TEMPLATE: ClassVar[str] = "tasks.html"
    application: Application
    tasks: tuple[Task, ...]
    acts: tuple[Act, ...]
    history: tuple[Moment, ...] = ()


@dataclass(frozen=True, slots=True)
class Section(View):
    """One section of an application; ``name`` is project, people, data, setting or outputs."""

    TEMPLATE: ClassVar[str] = "section.html"
    application: Application
    name: str
    title: str
    given: Mapping[str, Any]
    names: Names
    datasets: Sequence[Dataset] = ()
    next: str = ""
    errors: Errors = ()


@dataclass(frozen=True, slots=True)
class Variables(View):
    """Which columns of one dataset."""

    TEMPLATE: ClassVar[str] = "variables.html"
    application: Application
    dataset: Dataset
    edition: Edition
    chosen: tuple[str, ...]
    errors: Errors = ()


@dataclass(frozen=True, slots=True)
class CheckAnswers(View):
    """All answers, before they are sent."""

    TEMPLATE: ClassVar[str] = "check.html"
    application: Application
    names: Names
    datasets: Mapping[str, Dataset]
    key: str
    errors: Errors = ()


@dataclass(frozen=True, slots=True)
class Sent(View):
    """Confirmation that an application was sent."""

    TEMPLATE: ClassVar[str] = "sent.html"
    application: Application


@dataclass(frozen=True, slots=True)
class Difference:
    """One answer that changed since the last round, in pieces; a piece that only one of the two texts has is marked."""

    field: str
    label: str
    before: Words
    now: Words


@dataclass(frozen=True, slots=True)
class ApplicationPage(View):
    """An application as it was sent, beside what its reader may do about it; ``since`` is the round compared with, 0 for none."""

    TEMPLATE: ClassVar[str] = "application.html"
    application: Application
    names: Names
    datasets: Mapping[str, Dataset]
    steward: bool
    against: Mapping[str, tuple[str, ...]]  # action -> sentences; empty means open
    checks: tuple[Step, ...] = ()
    acts: tuple[Act, ...] = ()
    since: int = 0
    asked: tuple[str, ...] = ()  # the points of that round
    changed: tuple[Difference, ...] = ()
    history: tuple[Moment, ...] = ()
    key: str = ""
    given: Mapping[str, str] = field(default_factory=dict)
    errors: Errors = ()


@dataclass(frozen=True, slots=True)
class PermitPage(View):
    """One permit."""

    TEMPLATE: ClassVar[str] = "permit.html"
    permit: Permit
    names: Names
    acts: tuple[Act, ...]
    tunnels: Sequence[Tunnel] = ()
    releases: Sequence[Release] = ()
    history: tuple[Moment, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenTunnel(View):
    """How long the tunnel is to be."""

    TEMPLATE: ClassVar[str] = "open.html"
    permit: Permit
    key: str
    minutes: str = "60"
    errors: Errors = ()


@dataclass(frozen=True, slots=True)
class TunnelPage(View):
    """One tunnel; ``enter`` is the address at its gate, empty while nobody can enter."""

    TEMPLATE: ClassVar[str] = "tunnel.html"
    tunnel: Tunnel
    permit: Permit | None
    names: Names
    steps: tuple[Step, ...]
    seconds_left: int
    enter: str
    packages: tuple[str, ...]
    acts: tuple[Act, ...]
    mine: bool
    history: tuple[Moment, ...] = ()


# --- releases ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table preview: every cell is its text and the severity of the findings in it (or empty)."""

    head: tuple[tuple[str, str], ...]
    rows: tuple[tuple[tuple[str, str], ...], ...]
    cut: int = 0  # rows that are not shown


@dataclass(frozen=True, slots=True)
class FileView:
    """One output of a release; ``picture`` is its address at the second origin."""

    output: Output
    blocked: bool | None
    findings: tuple[Mapping[str, Any], ...]
    sheet: Sheet | None = None
    text: str = ""
    picture: str = ""


@dataclass(frozen=True, slots=True)
class ReleasePage(View):
    """A release as its author, or an auditor, sees it."""

    TEMPLATE: ClassVar[str] = "release.html"
    release: Release
    names: Names
    files: tuple[FileView, ...]
    acts: tuple[Act, ...]
    history: tuple[Moment, ...] = ()


@dataclass(frozen=True, slots=True)
class ReviewPage(View):
    """A release beside its findings, for a steward."""

    TEMPLATE: ClassVar[str] = "review.html"
    release: Release
    names: Names
    files: tuple[FileView, ...]
    against: Mapping[str, tuple[str, ...]]
    mine: bool  # my verdict is in
    earlier: Sequence[Release]
    changes: FilesChanged
    reasons: Sequence[tuple[str, str]]
    key: str
    given: Mapping[str, str] = field(default_factory=dict)
    history: tuple[Moment, ...] = ()
    errors: Errors = ()
