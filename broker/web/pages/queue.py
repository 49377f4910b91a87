"""The stewards' queue: what needs me, what waits for others, what is done; the URL is the query."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from broker.flows import applications, notices, people, releases
from broker.web.oversight import Case, Queue
from broker.web.pages import applying, render
from broker.web.pages.asks import By, World
from broker.web.views import Link
from sulku import applications as apps
from sulku import releases as rels
from sulku.codec import plain
from sulku.errors import NotFoundError
from sulku.people import Actor, Role
from sulku.ports import Ports

router = APIRouter()
SHOWS: Final = {"needs": "Needs you", "waiting": "Waiting for others", "done": "Done (30 days)"}
RECENT: Final = timedelta(days=30)
HEAD: Final = ("id", "kind", "title", "who", "organisation", "state", "since", "days", "progress", "waits_for")


@router.get("/queue")
def queue(request: Request, ports: World, by: By) -> Response:
    """Show the queue."""
    asked = _asked(request)
    every = cases(ports, by)
    tabs = tuple(
        Link(text, f"/queue?{urlencode({**asked, 'show': show})}", show == asked["show"], len(every[show])) for show, text in SHOWS.items()
    )
    listed = every[asked["show"]]
    view = Queue(
        tabs=tabs,
        show=asked["show"],
        cases=_narrowed(listed, asked),
        filters=asked,
        organisations=tuple(sorted({case.organisation for case in listed})),
        query=urlencode(asked),
        notices=applying.told(notices.listing(ports, by)),
        late=2 * request.app.state.settings.remind_days,
    )
    return render.page(request, view)


def _asked(request: Request) -> dict[str, str]:
    given = {name: request.query_params.get(name, "")[:200] for name in ("show", "kind", "organisation", "text")}
    return {**given, "show": given["show"] if given["show"] in SHOWS else "needs"}


def _narrowed(listed: list[Case], asked: dict[str, str]) -> tuple[Case, ...]:
    return tuple(
        case
        for case in listed
        if asked["kind"] in {"", case.kind}
        and asked["organisation"] in {"", case.organisation}
        and asked["text"].lower() in case.title.lower()
    )


@router.get("/queue.csv")
def queue_csv(request: Request, ports: World, by: By) -> Response:
    """Return the same list as CSV."""
    asked = _asked(request)
    listed = _narrowed(cases(ports, by)[asked["show"]], asked)
    return render.rows_as_csv("queue", HEAD, [[plain(asdict(case)[name]) for name in HEAD] for case in listed])


@router.get("/queue.json")
def queue_json(request: Request, ports: World, by: By) -> Response:
    """Return the same list as JSON."""
    asked = _asked(request)
    return JSONResponse({"query": asked, "cases": plain(_narrowed(cases(ports, by)[asked["show"]], asked))})


def cases(ports: Ports, by: Actor) -> dict[str, list[Case]]:
    """Return every case under needs, waiting and done; open ones oldest first, done ones newest first.

    Raises:
        NotFoundError: The reader is no steward.
    """
    if by.role is not Role.STEWARD:
        raise NotFoundError("there is nothing at this address that you may see")
    now = ports.clock.now()
    found: dict[str, list[Case]] = {show: [] for show in SHOWS}
    for show, case in (*_applications(ports, by, now), *_releases(ports, by, now)):
        found[show].append(case)
    for show in SHOWS:
        found[show].sort(key=lambda case: -case.days if show != "done" else case.days)
    return found


def _days(since: datetime | None, now: datetime) -> int:
    return max(0, (now - since).days) if since else 0


def _applications(ports: Ports, by: Actor, now: datetime) -> Iterator[tuple[str, Case]]:
    names = people.names(ports)
    for one in applications.listing(ports, by):
        judged = by.id in {judgement.by for judgement in one.judgements}
        if one.state is apps.State.SUBMITTED:
            mine = not judged and not applications.may(ports, by, one.id)["application.judge"]
            show, waits, since = ("needs", "You", one.submitted_at) if mine else ("waiting", "Another data steward", one.submitted_at)
        elif one.state is apps.State.RETURNED:
            show, waits, since = "waiting", "The applicant", one.submitted_at
        else:
            show, waits, since = "done", "Nobody", one.decided_at or one.submitted_at
        if show == "done" and (since is None or now - since > RECENT):
            continue
        yield (
            show,
            Case(
                href=f"/applications/{one.id}",
                id=one.id,
                kind="application",
                title=one.form.title or "Untitled application",
                who=names.get(one.applicant, one.applicant),
                organisation=one.organisation,
                state=one.state.value,
                since=since,
                days=_days(since, now),
                progress=f"{len(one.judgements)} of {apps.QUORUM} verdicts",
                waits_for=waits,
            ),
        )


def _releases(ports: Ports, by: Actor, now: datetime) -> Iterator[tuple[str, Case]]:
    names = people.names(ports)
    for one in releases.listing(ports, by):
        show, waits, progress = _standing(ports, by, one)
        since = one.submitted_at if show != "done" else one.decided_at or one.submitted_at
        if show == "done" and (since is None or now - since > RECENT):
            continue
        yield (
            show,
            Case(
                href=f"/releases/{one.id}",
                id=one.id,
                kind="release",
                title=one.title,
                who=names.get(one.author, one.author),
                organisation=one.organisation,
                state=one.state.value,
                since=since,
                days=_days(since, now),
                progress=progress,
                waits_for=waits,
            ),
        )


def _standing(ports: Ports, by: Actor, one: rels.Release) -> tuple[str, str, str]:
    """Return where a release belongs, who acts next, and how far it is; others' verdicts stay hidden."""
    if one.state is rels.State.RETURNED:
        return "waiting", "The researcher", f"Round {one.round} closed"
    if one.state is not rels.State.SUBMITTED:
        return "done", "Nobody", f"Round {one.round}"
    reviewed = by.id in {review.by for review in one.reviews}
    if one.phase is rels.Phase.CONSOLIDATING:
        return ("needs", "You, to consolidate", "Both verdicts in") if reviewed else ("waiting", "Its reviewers", "Both verdicts in")
    if reviewed:
        return "waiting", "A second data steward", "Your verdict is in"
    mine = not releases.may(ports, by, one.id)["release.judge"]
    files = render.plural(len(one.items), "file")
    return ("needs", "You", f"{files} to judge") if mine else ("waiting", "Another data steward", files)
