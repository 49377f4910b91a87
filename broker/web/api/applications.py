"""Applications: drafted and sent by researchers, decided by two stewards."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from broker.flows import applications
from broker.web.api.asking import ApplicationId, By, Expected, Key, World, done, expect, made, many, one
from broker.web.api.documents import Answers, Because, JudgeApplication, Listing, May, Recorded, ReturnPoints
from sulku.applications import Application, State
from sulku.rounds import AnswersChanged

router = APIRouter(prefix="/applications", tags=["applications"])
Changed = Recorded[Application]


@router.get("", response_model=Listing[Application])
def listing(ports: World, by: By, state: Annotated[list[State] | None, Query()] = None) -> Response:
    """Return the applications that you may see, newest first."""
    where = {"state": [one.value for one in state]} if state else {}
    return many(applications.listing(ports, by, **where))


@router.get("/{application}", response_model=Application)
def view(ports: World, by: By, application: ApplicationId) -> Response:
    """Return one application."""
    return one(applications.view(ports, by, application))


@router.get("/{application}/may", response_model=May)
def may(ports: World, by: By, application: ApplicationId) -> Response:
    """Return what you may do with it now, and the reasons against the rest."""
    applications.view(ports, by, application)
    return one(applications.may(ports, by, application))


@router.get("/{application}/changes", response_model=AnswersChanged)
def changes(ports: World, by: By, application: ApplicationId) -> Response:
    """Return which answers changed since the round before, old beside new, and the points that were to correct."""
    return one(applications.changes(ports, applications.view(ports, by, application)))


@router.post("", status_code=201, response_model=Changed)
def draft(ports: World, by: By, asked: Answers, key: Key = None) -> Response:
    """Begin an application."""
    return made(applications.draft(ports, by, asked.model_dump(), key=key), "app", by)


@router.put("/{application}", response_model=Changed)
def save(ports: World, by: By, application: ApplicationId, asked: Answers, expected: Expected = None, key: Key = None) -> Response:
    """Save the answers of a draft, or of an application that was returned."""
    expect(ports, application, expected)
    return done(applications.draft(ports, by, asked.model_dump(), application, key), application)


@router.post("/{application}/submit", response_model=Changed)
def submit(ports: World, by: By, application: ApplicationId, expected: Expected = None, key: Key = None) -> Response:
    """Send it to the stewards."""
    expect(ports, application, expected)
    return done(applications.submit(ports, by, application, key), application)


@router.post("/{application}/judge", response_model=Changed)
def judge(
    ports: World, by: By, application: ApplicationId, asked: JudgeApplication, expected: Expected = None, key: Key = None
) -> Response:
    """Approve or refuse, as one of two; the second approval issues the permit."""
    expect(ports, application, expected)
    return done(applications.judge(ports, by, application, asked.verdict, asked.reason, key), application)


@router.post("/{application}/retract", response_model=Changed)
def retract(ports: World, by: By, application: ApplicationId, expected: Expected = None) -> Response:
    """Take your own verdict back."""
    expect(ports, application, expected)
    return done(applications.retract(ports, by, application), application)


@router.post("/{application}/declare", response_model=Changed)
def declare(ports: World, by: By, application: ApplicationId, asked: Because, expected: Expected = None) -> Response:
    """Declare a conflict of interest, which cannot be undone."""
    expect(ports, application, expected)
    return done(applications.declare(ports, by, application, asked.reason), application)


@router.post("/{application}/return", response_model=Changed)
def return_(ports: World, by: By, application: ApplicationId, asked: ReturnPoints, expected: Expected = None, key: Key = None) -> Response:
    """Ask the applicant to correct points."""
    expect(ports, application, expected)
    return done(applications.return_(ports, by, application, tuple(asked.points), key), application)


@router.post("/{application}/withdraw", response_model=Changed)
def withdraw(ports: World, by: By, application: ApplicationId, expected: Expected = None) -> Response:
    """Take your application back."""
    expect(ports, application, expected)
    return done(applications.withdraw(ports, by, application), application)
