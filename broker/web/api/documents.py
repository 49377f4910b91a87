"""What travels over the API: answers are the core's own records, requests are strict documents with limits."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from sulku import applications, datasets, people, releases
from sulku.datasets import Sensitivity
from sulku.ids import ALPHABET

T = TypeVar("T")
Text = Annotated[str, Field(max_length=4000)]
Line = Annotated[str, Field(max_length=200)]
Label = Annotated[str, Field(min_length=1, max_length=200)]
Reason = Annotated[str, Field(max_length=2000)]
Points = Annotated[list[Annotated[str, Field(max_length=1000)]], Field(max_length=50)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _of(prefix: str) -> Any:
    return Field(pattern=f"^{prefix}_[{ALPHABET}]{{16}}$")


PersonRef = Annotated[str, _of("usr")]
DatasetRef = Annotated[str, _of("dst")]
PermitRef = Annotated[str, _of("per")]
OutputRef = Annotated[str, _of("out")]
DecisionRef = Annotated[str, _of("dec")]
RecordRef = Annotated[str, _of("(usr|app|tun|rel)")]


class Document(BaseModel):
    """Base of what is sent to us: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=False)


# --- answers ----------------------------------------------------------------------------------------------------------


class Wrong(BaseModel):
    """One field and what is wrong with it."""

    field: str
    problem: str


class Problem(BaseModel):
    """A refusal or a fault (RFC 9457): what, why, what next."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    remedy: str
    fields: list[Wrong]
    reasons: list[str]
    decision: str
    reference: str


_PROBLEM: Final = {
    "description": "A problem; `code` is stable.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
RESPONSES: Final[dict[int | str, dict[str, Any]]] = {"4XX": _PROBLEM, "5XX": _PROBLEM, 422: _PROBLEM}


def with_problem(description: dict[str, Any]) -> dict[str, Any]:
    """Return an OpenAPI ``description`` that also defines what every problem looks like."""
    _, made = models_json_schema([(Problem, "serialization")], ref_template="#/components/schemas/{model}")
    description["components"]["schemas"] |= made["$defs"]
    return description


class Listing(BaseModel, Generic[T]):
    """Records, and how many."""

    items: list[T]
    count: int


class Recorded(BaseModel, Generic[T]):
    """What a change gave: the record as it stands now, and the indices of its entries in the ledger."""

    record: T
    entries: list[int]
    repeated: bool


class Me(BaseModel):
    """Who asks, and in which role."""

    id: str
    name: str
    email: str
    organisation: str
    groups: list[str]
    roles: list[str]
    role: str
    mfa: bool
    signed_in: datetime | None
    expires: datetime | None
    away_until: datetime | None
    delegate: str


class SignIn(BaseModel):
    """What a command line needs to know to sign somebody in."""

    issuer: str
    client_id: str
    audience: str


class SignedOut(BaseModel):
    """Who signed out."""

    id: str


class Halted(BaseModel):
    """The tunnels that were ended."""

    tunnels: list[str]


class Head(BaseModel):
    """The ledger now: entries, root (hex), and the latest signed checkpoint (empty before the first)."""

    size: int
    root: str
    checkpoint: str


class Inclusion(BaseModel):
    """An inclusion proof (RFC 6962); ``entry`` and ``hashes`` in base64."""

    index: int
    size: int
    checkpoint: str
    entry: str
    hashes: list[str]


class Sizes(BaseModel):
    """Entries at the earlier checkpoint, and now."""

    before: int
    now: int


class Envelope(BaseModel):
    """A signed paper (DSSE); empty signatures never occur."""

    model_config = ConfigDict(extra="allow")
    payload_type: Annotated[str, Field(alias="payloadType")]
    payload: str
    signatures: list[dict[str, Any]]


May = dict[str, list[str]]
"""For each action, the reason codes against it; an empty list means that it is open."""


# --- requests ---------------------------------------------------------------------------------------------------------


class RegisterPerson(Document):
    """Enter a person into the directory."""

    name: Line
    email: Annotated[str, Field(pattern=r"^[^@\s]{1,64}@[^@\s]{1,180}$")]
    organisation: Line
    roles: list[people.Role]
    groups: list[Line] = []
    subject: Line = ""
    expires: AwareDatetime | None = None


class ChangeRoles(Document):
    """Set a person's roles anew."""

    roles: list[people.Role]
    expires: AwareDatetime | None = None


class SetAbsence(Document):
    """Until when you are away, and who stands in; no date means that you are back."""

    away_until: AwareDatetime | None
    delegate: PersonRef | Literal[""] = ""


class Because(Document):
    """Why."""

    reason: Reason


class Variable(Document):
    """One column."""

    name: Label
    kind: Literal["integer", "number", "text", "boolean", "date"]
    label: Line = ""


class DataFile(Document):
    """One file of a version."""

    name: Line
    size: Annotated[int, Field(ge=0, lt=2**53)]
    rows: Annotated[int, Field(ge=0, lt=2**53)]
    sha256: Digest


class Edition(Document):
    """One immutable version of a dataset."""

    version: Annotated[str, Field(pattern=f"^{datasets.VERSION}$")]
    digest: Digest
    files: Annotated[list[DataFile], Field(min_length=1, max_length=datasets.MAX_FILES)]
    variables: Annotated[list[Variable], Field(min_length=1, max_length=datasets.MAX_VARIABLES)]
    persons: Annotated[int, Field(ge=0, lt=2**53)]
    person_key: Label


class CatalogueDataset(Document):
    """Enter a dataset into the catalogue."""

    name: Annotated[str, Field(pattern=f"^{datasets.NAME}$")]
    title: Label
    description: Text
    controller: Label
    sensitivity: Sensitivity
    terms: Text
    edition: Edition
    controllers: Annotated[list[PersonRef], Field(max_length=datasets.MAX_CONTROLLERS)] = []
    source: Line = ""
    dataset: Annotated[DatasetRef | None, Field(description="Under which its files were taken in (`sulku-broker take-in`).")] = None


class Wanted(Document):
    """One dataset version, and the variables of it."""

    dataset: DatasetRef
    version: Line
    variables: Annotated[list[Line], Field(max_length=500)]


class Answers(Document):
    """The answers to the application form; a draft may leave out any."""

    title: Line = ""
    purpose: Text = ""
    basis: Annotated[str, Field(max_length=500)] = ""
    outputs: Annotated[str, Field(max_length=2000)] = ""
    people: Annotated[list[PersonRef], Field(max_length=20)] = []
    datasets: Annotated[list[Wanted], Field(max_length=20)] = []
    starts: Annotated[str, Field(max_length=10)] = ""
    ends: Annotated[str, Field(max_length=10)] = ""


class JudgeApplication(Document):
    """Approve or refuse, as one of two."""

    verdict: applications.Verdict
    reason: Reason = ""


class ReturnPoints(Document):
    """What to correct."""

    points: Points


class OpenTunnel(Document):
    """Ask for a tunnel."""

    permit: PermitRef
    minutes: Annotated[int, Field(ge=1, le=100_000)]


class TopUp(Document):
    """Add to a tunnel's egress budget."""

    bytes: Annotated[int, Field(gt=0, lt=2**40)]
    reason: Reason


class Halt(Document):
    """End live tunnels at once; ``identifier`` is of the scope's noun, and left out for ``everything``."""

    scope: Literal["tunnel", "person", "permit", "dataset", "everything"]
    identifier: Line = ""
    reason: Reason


class Mark(Document):
    """A verdict on one file; ``rebuilt`` is the digest that you looked at."""

    output: OutputRef
    rebuilt: Digest | Literal[""]
    verdict: releases.Verdict
    reason: releases.Reason | None = None
    comment: Reason = ""


class JudgeRelease(Document):
    """Your verdict on every file."""

    marks: Annotated[list[Mark], Field(min_length=1, max_length=50)]


class Consolidate(Document):
    """Close the round: let it out, or return it with points."""

    release: bool
    points: Points = []


class Checkpoint(Document):
    """A signed checkpoint that you kept."""

    checkpoint: Annotated[str, Field(max_length=20_000)]


class Erase(Document):
    """About which record to erase the private texts, and on which legal ground; the ground stays for ever and names nobody."""

    record: RecordRef
    ground: Annotated[str, Field(min_length=10, max_length=500)]


class Replay(Document):
    """Which decision to evaluate again."""

    decision: DecisionRef
