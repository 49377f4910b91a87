"""Releases: judged blind by two, consolidated, delivered, fetched."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from broker.flows import releases
from broker.web.api.asking import By, Expected, Key, OutputId, ReleaseId, World, done, expect, file, many, one
from broker.web.api.documents import Consolidate, JudgeRelease, Listing, May, Recorded
from broker.web.api.outputs import BYTES
from broker.web.api.permits import DSSE, PAPER
from sulku.codec import typed
from sulku.people import Actor, Role
from sulku.ports import Receipt
from sulku.releases import Mark, Release, State, blind
from sulku.rounds import FilesChanged

router = APIRouter(prefix="/releases", tags=["releases"])
Changed = Recorded[Release]


def _blinded(receipt: Receipt, release: str, by: Actor) -> Response:
    """Return a change as its author may see it: a receipt holds the others' verdicts too."""
    seen = blind(receipt.facts[release], by.id, reviewer=by.role is Role.STEWARD)
    return done(Receipt({release: seen}, receipt.entries, receipt.repeated), release)


@router.get("", response_model=Listing[Release])
def listing(ports: World, by: By, state: Annotated[list[State] | None, Query()] = None) -> Response:
    """Return the releases that you may see, blinded, newest first."""
    return many(releases.listing(ports, by, **({"state": [one.value for one in state]} if state else {})))


@router.get("/{release}", response_model=Release)
def view(ports: World, by: By, release: ReleaseId) -> Response:
    """Return one release, blinded: others' verdicts show once the quorum is in."""
    return one(releases.view(ports, by, release))


@router.get("/{release}/may", response_model=May)
def may(ports: World, by: By, release: ReleaseId) -> Response:
    """Return what you may do with it now, and the reasons against the rest."""
    releases.view(ports, by, release)
    return one(releases.may(ports, by, release))


@router.get("/{release}/changes", response_model=FilesChanged)
def changes(ports: World, by: By, release: ReleaseId) -> Response:
    """Return what became of each file since the round before: unchanged (the same digest), changed, new or gone."""
    return one(releases.changes(ports, releases.view(ports, by, release)))


@router.post("/{release}/judge", response_model=Changed)
def judge(ports: World, by: By, release: ReleaseId, asked: JudgeRelease, expected: Expected = None, key: Key = None) -> Response:
    """Give your verdict on every file; nobody else sees it until the quorum is in."""
    expect(ports, release, expected)
    marks = tuple(typed(Mark, mark.model_dump()) for mark in asked.marks)
    return _blinded(releases.judge(ports, by, release, marks, key), release, by)


@router.post("/{release}/retract", response_model=Changed)
def retract(ports: World, by: By, release: ReleaseId, expected: Expected = None) -> Response:
    """Take your own verdict back, before the consolidation."""
    expect(ports, release, expected)
    return _blinded(releases.retract(ports, by, release), release, by)


@router.post("/{release}/consolidate", response_model=Changed)
def consolidate(ports: World, by: By, release: ReleaseId, asked: Consolidate, expected: Expected = None, key: Key = None) -> Response:
    """Close the round: let every file out, or return the release with points."""
    expect(ports, release, expected)
    receipt = releases.consolidate(ports, by, release, let_out=asked.release, points=tuple(asked.points), key=key)
    return _blinded(receipt, release, by)


@router.post("/{release}/withdraw", response_model=Changed)
def withdraw(ports: World, by: By, release: ReleaseId, expected: Expected = None) -> Response:
    """Take your release back."""
    expect(ports, release, expected)
    return _blinded(releases.withdraw(ports, by, release), release, by)


@router.get("/{release}/manifest", responses=PAPER, response_class=Response)
def manifest(ports: World, by: By, release: ReleaseId) -> Response:
    """Return the signed manifest of a delivered release, for checking it offline."""
    return Response(releases.manifest(ports, by, release), media_type=DSSE)


@router.get("/{release}/files/{output}", responses=BYTES, response_class=Response)
def fetch(ports: World, by: By, release: ReleaseId, output: OutputId) -> Response:
    """Return one released file; each fetch is recorded."""
    return file(*releases.fetch(ports, by, release, output))
