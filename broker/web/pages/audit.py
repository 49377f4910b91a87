"""The auditor's pages: the ledger verified, searched, proved, replayed and taken along."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from broker.flows import datasets, ledger, people, stories
from broker.web import oversight
from broker.web.pages import render, sentences, words
from broker.web.pages.asks import By, World
from sulku import ids
from sulku.codec import plain, unstamp
from sulku.errors import IntegrityError, InvalidInputError, LedgerBrokenError
from sulku.ledger import tree
from sulku.people import Actor
from sulku.ports import Ports
from sulku.records import Found, Search

router = APIRouter()
COOKIE: Final = "sulku-seen"  # the checkpoint of the last visit, kept by the auditor's own browser
MEMORY: Final = 400 * 24 * 3600  # seconds
PAGE: Final = 50
FILTERS: Final = ("person", "noun", "action", "dataset", "outcome", "since", "until")
NOUNS: Final = {name: prefix for prefix, name in ids.NOUNS.items() if prefix != "dec"}
OUTCOMES: Final = {"done": "clearance", "refused": "refusal", "": ""}


@router.get("/audit")
def home(request: Request, ports: World, by: By) -> Response:
    """Show the ledger's state, and that it still begins with what this browser saw last."""
    return _home(request, ports, by, None)


@router.post("/audit/verify")
def verify(request: Request, ports: World, by: By) -> Response:
    """Recompute everything, and show each check as evidence."""
    now = ports.clock.now()
    try:
        checks = tuple(oversight.Check(one.name, one.done, one.total, one.detail) for one in ledger.verify(ports, by))
        report = oversight.Report(checks, now)
    except LedgerBrokenError as error:
        report = oversight.Report((), now, str(error))
    return _home(request, ports, by, report)


def _home(request: Request, ports: Ports, by: Actor, report: oversight.Report | None) -> Response:
    seen, said = _since_last_visit(request, ports, by)
    head = ledger.head(ports)
    view = oversight.Audit(head["size"], head["root"], head["checkpoint"], seen, said, report)
    response = render.page(request, view)
    if head["checkpoint"]:
        kept = base64.urlsafe_b64encode(head["checkpoint"].encode()).decode()
        secure = request.app.state.settings.secure
        response.set_cookie(COOKIE, kept, max_age=MEMORY, path="/audit", httponly=True, samesite="lax", secure=secure)
    return response


def _since_last_visit(request: Request, ports: Ports, by: Actor) -> tuple[int | None, str]:
    try:
        since = base64.urlsafe_b64decode(request.cookies.get(COOKIE, "").encode())
        if not since:
            return None, ""
        before, _ = ledger.consistent(ports, by, since)
    except IntegrityError as error:
        return 0, f"It does not begin with what you saw: {error}. {error.remedy()}"
    except (ValueError, InvalidInputError):
        return None, ""
    return before, "Everything that you saw then is still there, unchanged."


def _search(request: Request) -> tuple[dict[str, str], Search, int | None]:
    """Return the filters, the search and the place in it that a URL says.

    Raises:
        InvalidInputError: A day is no day, or the place no number.
    """
    asked = {name: request.query_params.get(name, "")[:100] for name in FILTERS}
    noun = asked["noun"]
    wanted = Search(
        person=asked["person"],
        noun=NOUNS.get(noun, noun[:3] if noun in NOUNS.values() else ""),
        record=noun if "_" in noun else "",
        type=asked["action"],
        dataset=asked["dataset"],
        outcome=OUTCOMES.get(asked["outcome"], ""),
        since=_day(asked["since"], "since"),
        until=_day(asked["until"], "until", after=True),
    )
    before = request.query_params.get("before", "")
    if before and not (before.isascii() and before.isdecimal() and len(before) < 16):
        raise InvalidInputError("before is not a number", fields=[("before", "Give a whole number")])
    return asked, wanted, int(before) if before else None


def _day(text: str, field: str, *, after: bool = False) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.fromisoformat(text[:10]).replace(tzinfo=UTC) + timedelta(days=1 if after else 0)
    except ValueError:
        raise InvalidInputError(f"{field} is not a day", fields=[(field, "Give a day as year-month-day")]) from None


def _found(request: Request, ports: Ports, by: Actor) -> tuple[dict[str, str], Found]:
    asked, wanted, before = _search(request)
    return asked, ledger.search(ports, by, wanted, before=before, most=PAGE)


@router.get("/ledger")
def timeline(request: Request, ports: World, by: By) -> Response:
    """Show the ledger as sentences."""
    asked, found = _found(request, ports, by)
    names = people.names(ports)
    query = urlencode({name: value for name, value in asked.items() if value})
    view = oversight.Timeline(
        sentences=tuple(sentences.sentence(entry, names) for entry in found.entries),
        filters=asked,
        people=names,
        datasets=datasets.listing(ports, by),
        nouns=tuple(NOUNS) + ((asked["noun"],) if "_" in asked["noun"] else ()),
        query=query,
        newer=f"/ledger?{query}" if "before" in request.query_params else "",
        older=f"/ledger?{query}&before={found.before}" if found.before is not None else "",
    )
    return render.page(request, view)


@router.get("/ledger.json")
def timeline_json(request: Request, ports: World, by: By) -> Response:
    """Return the same records, as they are stored."""
    _, found = _found(request, ports, by)
    return JSONResponse({"entries": found.entries, "before": found.before})


@router.get("/ledger.csv")
def timeline_csv(request: Request, ports: World, by: By) -> Response:
    """Return the same records as CSV."""
    _, found = _found(request, ports, by)
    rows = [
        (one["index"], one["at"], one["by"]["id"], one["by"]["role"], one["type"], one["id"], json.dumps(one["body"], sort_keys=True))
        for one in found.entries
    ]
    return render.rows_as_csv("ledger", ("index", "at", "person", "role", "type", "record", "body"), rows)


@router.get("/ledger/export")
def export(ports: World, by: By) -> Response:
    """Return the bundle that anybody can verify."""
    name = f"sulku-ledger-{ledger.head(ports)['size']}.zip"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(ledger.export(ports, by), media_type="application/zip", headers=headers)


@router.get("/ledger/checkpoint")
def checkpoint(ports: World) -> Response:
    """Return the latest signed checkpoint; public."""
    headers = {"Content-Disposition": 'attachment; filename="checkpoint.txt"'}
    return Response(ledger.head(ports)["checkpoint"], media_type="text/plain; charset=utf-8", headers=headers)


@router.get("/ledger/{index:int}")
def entry(request: Request, ports: World, by: By, index: int, texts: str = "") -> Response:
    """Show one record, as stored, with its proof; with ``texts`` also what stands beside it, and that is recorded."""
    return render.page(request, _entry(ports, by, index, texts=bool(texts)))


@router.post("/ledger/{index:int}/replay")
def replay(request: Request, ports: World, by: By, index: int) -> Response:
    """Ask policy again what it was asked then."""
    return render.page(request, _entry(ports, by, index, again=True))


def _entry(ports: Ports, by: Actor, index: int, *, again: bool = False, texts: bool = False) -> oversight.Entry:
    proof, beside = ledger.entry(ports, by, index, texts=texts)
    stored: dict[str, Any] = json.loads(proof.entry)
    decision = str(stored["clearance"].get("decision", ""))
    done = ledger.replay(ports, by, decision) if again and beside.asked else None
    head, names = ledger.head(ports), people.names(ports)
    return oversight.Entry(
        sentence=sentences.sentence(stored, names),
        stored=json.dumps(stored, indent=2, ensure_ascii=False, sort_keys=True),
        leaf=tree.hash_leaf(proof.entry).hex(),
        proof=tuple(one.hex() for one in proof.hashes),
        size=proof.size,
        root=head["root"],
        private=tuple(replace(one, text=None if one.text is None else _pretty(one.text)) for one in beside.texts),
        opened=texts,
        erased=sentences.sentence(beside.erased, names) if beside.erased else None,
        ground=str(beside.erased["body"]["ground"]) if beside.erased else "",
        asked_kept=beside.asked,
        decision=decision,
        asked=_pretty(done.asked) if done else "",
        answered=_pretty(done.answered) if done else "",
        again=_pretty(done.again) if done else "",
        replayed=done.same if done else None,
    )


def _pretty(text: str) -> str:
    """Return JSON for people: a text as itself, all else with a line a field."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found if isinstance(found, str) else json.dumps(found, indent=2, ensure_ascii=False, sort_keys=True)


def _access(ports: Ports, by: Actor, dataset: str) -> tuple[oversight.AccessRow, ...]:
    return tuple(
        oversight.AccessRow(one.person, one.edition, one.permit, one.tunnel, one.since, one.until)
        for one in ledger.access_list(ports, by, dataset)
    )


@router.get("/access")
def access(request: Request, ports: World, by: By, dataset: str = "") -> Response:
    """Show who could read a dataset, and when."""
    every = datasets.listing(ports, by)
    chosen = next((one for one in every if one.id == dataset), None)
    rows = _access(ports, by, chosen.id) if chosen else ()
    return render.page(request, oversight.Access(every, chosen, rows, people.names(ports)))


@router.get("/access.json")
def access_json(ports: World, by: By, dataset: str) -> Response:
    """Return the same list as JSON."""
    return JSONResponse({"dataset": dataset, "access": plain(_access(ports, by, dataset))})


@router.get("/access.csv")
def access_csv(ports: World, by: By, dataset: str) -> Response:
    """Return the same list as CSV."""
    head = ("person", "version", "permit", "tunnel", "since", "until")
    rows = [[plain(asdict(row)[name]) for name in head] for row in _access(ports, by, dataset)]
    return render.rows_as_csv("access", head, rows)


@router.get("/refusals/{decision}")
def why(request: Request, ports: World, by: By, decision: str) -> Response:
    """Say why something was refused, in words."""
    found = stories.refusal(ports, by, ids.parse(decision, "dec"))
    codes = tuple(map(str, found["body"]["codes"]))
    said = tuple(zip(codes, words.sentences(codes), strict=True))
    at, policy = unstamp(found["at"]), str(found["clearance"].get("policy", ""))
    return render.page(request, oversight.Why(decision, str(found["body"]["action"]), at, said, policy))
