"""Turns a view into a page: the template environment, its filters, the frame around each page, and what a refusal looks like."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from broker.web import views
from broker.web.pages import words
from broker.web.problems import describe
from broker.web.views import Frame, Link, View
from sulku import ids
from sulku.codec import stamp
from sulku.errors import InvalidInputError, SulkuError
from sulku.people import PUBLIC, Actor, Role

HERE: Final = Path(__file__).resolve().parent.parent
NAV: Final = {
    Role.RESEARCHER: (("My work", "/work"), ("Datasets", "/datasets"), ("Register", "/register")),
    Role.STEWARD: (
        ("Queue", "/queue"),
        ("Permits", "/permits"),
        ("Tunnels", "/tunnels"),
        ("Datasets", "/datasets"),
        ("Absence", "/absence"),
    ),
    Role.AUDITOR: (("Ledger", "/audit"), ("Timeline", "/ledger"), ("Access", "/access"), ("Permits", "/permits"), ("Tunnels", "/tunnels")),
    Role.OPERATOR: (("People", "/people"), ("System", "/system"), ("Datasets", "/datasets")),
    Role.PUBLIC: (("Datasets", "/datasets"), ("Register", "/register"), ("Help", "/help")),
}
HOMES: Final = {Role.RESEARCHER: "/work", Role.STEWARD: "/queue", Role.AUDITOR: "/audit", Role.OPERATOR: "/people"}


def when(at: datetime | None) -> Markup:
    """Return a moment for people, in UTC; the page's script shows it in the reader's zone and keeps this as its title."""
    if at is None:
        return Markup("—")
    text = f"{at.day} {at:%B %Y at %H:%M} UTC"
    return Markup('<time datetime="{}" title="{}" data-moment>{}</time>').format(stamp(at), text, text)


def day(value: datetime | date | str | None) -> str:
    """Return a calendar day such as ``4 June 2026``; anything that is no date stays as it is."""
    if isinstance(value, str):
        try:
            return day(date.fromisoformat(value))
        except ValueError:
            return value or "—"
    return f"{value.day} {value:%B %Y}" if value else "—"


def size(count: int) -> str:
    """Return a number of bytes in the unit that reads best."""
    for unit, width in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= width:
            return f"{count / width:.1f} {unit}".replace(".0 ", " ")
    return f"{count} bytes"


def span(seconds: int) -> str:
    """Return how long something takes, in at most two units, as the page's script counts it."""
    days, hours, minutes = seconds // 86400, seconds // 3600, seconds % 3600 // 60
    if days >= 2:
        return plural(days, "day")
    if hours:
        return f"{plural(hours, 'hour')} {plural(minutes, 'minute')}"
    return plural(minutes, "minute") if minutes else plural(seconds, "second")


def plural(count: int, unit: str) -> str:
    """Return a count with its unit: ``1 file``, ``2 files``."""
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def tag(noun: str, value: str) -> Markup:
    """Return a state as a word in its colour and shape."""
    word, tone = words.state(noun, value)
    return Markup('<span class="tag tag-{}">{}</span>').format(tone, word)


def person(identifier: str, names: Mapping[str, str]) -> str:
    """Return who ``identifier`` is; services name themselves."""
    return names.get(identifier) or (f"sulku ({identifier[8:]})" if identifier.startswith("service:") else identifier)


def wrong(errors: Sequence[tuple[str, str]], name: str) -> str:
    """Return what is wrong with the field ``name``, if anything."""
    return next((text for field, text in errors if field == name), "")


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {"when": when, "day": day, "size": size, "span": span, "person": person, "plural": plural}
    made.globals |= {"tag": tag, "wrong": wrong, "words": words, "label": ids.label}
    return made


ENVIRONMENT: Final = _environment()


def frame(request: Request) -> Frame:
    """Return what surrounds the page that ``request`` asks for."""
    by = actor(request)
    path = request.url.path
    held = getattr(request.state, "roles", ())
    nav = tuple(Link(text, href, path == href or path.startswith(href + "/")) for text, href in NAV.get(by.role, ()))
    return Frame(
        path=path,
        now=request.app.state.ports.clock.now(),
        name=by.name,
        role=by.role.value,
        roles=tuple(role.value for role in held),
        nav=nav,
        practice=request.app.state.settings.mode != "production",
        signed_in=by.role is not Role.PUBLIC,
    )


def actor(request: Request) -> Actor:
    """Return who asks; the public if nobody is signed in."""
    return getattr(request.state, "actor", None) or PUBLIC


def page(request: Request, view: View, status: int = 200) -> HTMLResponse:
    """Return ``view`` as a page."""
    return HTMLResponse(html(view, frame(request)), status)


def html(view: View, around: Frame) -> str:
    """Return ``view`` as HTML inside ``around``."""
    return ENVIRONMENT.get_template(view.TEMPLATE).render(v=view, frame=around)


def again(request: Request, view: Any, error: InvalidInputError) -> HTMLResponse:
    """Return the form that was sent, with what is wrong in it, as 422; what was typed is kept in ``view``."""
    errors = tuple(error.fields) or (("", str(error)),)
    return page(request, replace(view, errors=errors), error.status)


def problem_page(request: Request, error: SulkuError, reference: str = "") -> HTMLResponse:
    """Return what a refusal or a fault looks like to a person."""
    seen = describe(error, reference)
    view = views.Problem(
        code=seen.code,
        title=words.PROBLEMS.get(seen.code, "There is a problem"),
        detail=seen.detail,
        remedy=seen.remedy,
        reference=seen.decision or seen.reference,
        fields=seen.fields,
        reasons=words.sentences(seen.reasons),
        status=seen.status,
        back=_back(request.url.path),
    )
    return page(request, view, seen.status)


def _back(path: str) -> str:
    """Return the page of the record that ``path`` is about; what was posted to cannot be read."""
    return "/" + "/".join(path.split("/")[1:3])


def to(path: str) -> RedirectResponse:
    """Send the browser on to ``path`` with GET, after something was done."""
    return RedirectResponse(path, 303)


def download(text: str, name: str) -> Response:
    """Return a signed document as a file."""
    return Response(text, media_type="application/json", headers={"Content-Disposition": f'attachment; filename="{name}"'})


def rows_as_csv(name: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> Response:
    """Return a table as a CSV file; a cell that a spreadsheet would run is made text."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(head)
    writer.writerows([_inert(cell) for cell in row] for row in rows)
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def _inert(cell: object) -> str:
    text = "" if cell is None else str(cell)
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text


def until(at: datetime | None, now: datetime) -> int:
    """Return the whole seconds from ``now`` until ``at``, never below zero."""
    return max(0, int((at - now) / timedelta(seconds=1))) if at else 0
