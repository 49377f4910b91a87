"""The ledger: its head for everybody; search, export, verification, replay and access lists for auditors."""

from __future__ import annotations

import base64
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import AwareDatetime

from broker.flows import erasure, ledger
from broker.web.api.asking import By, DatasetId, World, many, one
from broker.web.api.documents import Checkpoint, Erase, Head, Inclusion, Line, Listing, Replay, Sizes
from broker.web.api.outputs import binary
from sulku import records
from sulku.errors import InvalidInputError, SignatureError
from sulku.ledger import checkpoint
from sulku.records import Access, Erasure, Found, Opened, Search, Verified

ZIP = binary("application/zip")

router = APIRouter(prefix="/ledger", tags=["ledger"])
When = Annotated[AwareDatetime | None, Query()]
Word = Annotated[Line, Query()]


@router.get("", response_model=Head)
def head(ports: World) -> Response:
    """Return the ledger's size, root and latest signed checkpoint. Public."""
    return one(ledger.head(ports))


@router.get("/entries", response_model=Found)
def search(
    ports: World,
    by: By,
    person: Word = "",
    noun: Word = "",
    kind: Annotated[Line, Query(alias="type")] = "",
    dataset: Word = "",
    record: Word = "",
    outcome: Word = "",
    since: When = None,
    until: When = None,
    before: Annotated[int | None, Query(ge=0, lt=2**53)] = None,
    most: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Response:
    """Return entries, newest first; ``before`` goes on where a page ended."""
    wanted = Search(person, noun, kind, dataset, record, outcome, since, until)
    return one(ledger.search(ports, by, wanted, before=before, most=most))


@router.get("/entries/{index}/proof", response_model=Inclusion)
def prove(ports: World, by: By, index: Annotated[int, Path(ge=0, lt=2**53)]) -> Response:
    """Return what shows anybody that an entry is in the ledger that the latest checkpoint signed; bytes are base64."""
    proof = ledger.prove(ports, by, index)
    said: dict[str, Any] = {"index": proof.index, "size": proof.size, "checkpoint": proof.checkpoint.decode()}
    return one({**said, "entry": _text(proof.entry), "hashes": [_text(one) for one in proof.hashes]})


@router.get("/entries/{index}/texts", response_model=Opened)
def texts(ports: World, by: By, index: Annotated[int, Path(ge=0, lt=2**53)]) -> Response:
    """Return the private texts beside an entry, each with whether its commitment checks; or who erased them, and when."""
    return one(ledger.entry(ports, by, index, texts=True)[1])


@router.post("/erasures", response_model=Erasure)
def erase(ports: World, by: By, asked: Erase) -> Response:
    """Erase the private texts about a record that is over. The entries stay; may be repeated, and then does nothing."""
    return one(erasure.erase(ports, by, asked.record, asked.ground))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@router.get("/bundle", responses=ZIP, response_class=Response)
def export(ports: World, by: By, *, private: bool = False) -> Response:
    """Return what an outsider needs to verify the ledger, as one archive; ``private`` adds the texts behind the commitments."""
    return Response(ledger.export(ports, by, private=private), media_type="application/zip")


@router.post("/verifications", response_model=Listing[Verified])
def verify(ports: World, by: By) -> Response:
    """Recompute the whole ledger and compare every record with it."""
    return many(ledger.verify(ports, by))


@router.post("/consistency", response_model=Sizes)
def consistent(ports: World, by: By, asked: Checkpoint) -> Response:
    """Check that the ledger of now begins with the one that your earlier checkpoint signed."""
    kept = asked.checkpoint.encode()
    try:
        checkpoint.parse(kept)
    except SignatureError as error:  # what the asker sent, not what we keep
        raise InvalidInputError(str(error), fields=[("checkpoint", "Send the whole signed note")]) from error
    before, now = ledger.consistent(ports, by, kept)
    return one({"before": before, "now": now})


@router.post("/replays", response_model=records.Replay)
def replay(ports: World, by: By, asked: Replay) -> Response:
    """Evaluate a decision again, with the policy and the input of then."""
    return one(ledger.replay(ports, by, asked.decision))


@router.get("/access/{dataset}", response_model=Listing[Access])
def access(ports: World, by: By, dataset: DatasetId) -> Response:
    """Return who could read which version of a dataset, and when, newest first."""
    return many(ledger.access_list(ports, by, dataset))
