"""Every no, as a document (RFC 9457) for programs and a page for people; nothing else of an error leaves the process."""

from __future__ import annotations

import html
import re
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sulku.checks import Problem as Wrong
from sulku.checks import told
from sulku.crypto import seal
from sulku.errors import (
    DeniedError,
    FaultError,
    IllegalMoveError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    RuleError,
    SignInRequiredError,
    SulkuError,
    TooLargeError,
    UnexpectedError,
    WrongMethodError,
)

MEDIA: Final = "application/problem+json"
KIND: Final = "urn:sulku:problem:"
_LOG: Final = structlog.get_logger("sulku.web")


@dataclass(frozen=True, slots=True)
class Problem:
    """What a reader is told: what, why, what next.

    Attributes:
        code: Stable; ``docs/reference/errors.md`` lists them all.
        fields: Pairs of (field, what is wrong with it), in the order of the form.
        reasons: Codes of policy, or the rule of the lifecycle, that this reader may see.
        decision: Id of the decision that refused; empty if policy was not asked.
        reference: Finds the entry in the log; set where an operator must act.
    """

    status: int
    code: str
    title: str
    detail: str
    remedy: str
    fields: tuple[tuple[str, str], ...] = ()
    reasons: tuple[str, ...] = ()
    decision: str = ""
    reference: str = ""

    def document(self, kind: str = "") -> dict[str, Any]:
        """Return the problem document."""
        return {
            "type": kind or KIND + self.code,
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "remedy": self.remedy,
            "fields": [{"field": field, "problem": wrong} for field, wrong in self.fields],
            "reasons": list(self.reasons),
            "decision": self.decision,
            "reference": self.reference,
        }


Page = Callable[[Request, SulkuError, str], Response]
"""Draws an error for people; called with the request, the error and the reference in the log."""


def describe(error: SulkuError, reference: str = "") -> Problem:
    """Return what a reader may know of ``error``."""
    reasons: tuple[str, ...] = ()
    if isinstance(error, DeniedError):
        reasons = error.reasons
    elif isinstance(error, RuleError):
        reasons = (error.rule,)
    elif isinstance(error, IllegalMoveError):
        reasons = ("illegal-move",)
    return Problem(
        status=error.status,
        code=error.code,
        title=error.code.replace("-", " ").capitalize(),
        detail=str(error),
        remedy=error.remedy(),
        fields=error.fields if isinstance(error, InvalidInputError) else (),
        reasons=reasons,
        decision=error.decision if isinstance(error, DeniedError) else "",
        reference=reference,
    )


def _public(error: FaultError) -> str:
    """Return what the kind of fault is; its own message may name hosts and paths. Broken evidence must be named."""
    return str(error) if isinstance(error, IntegrityError) else (type(error).__doc__ or "Something is wrong.").splitlines()[0]


def answer(request: Request, error: SulkuError) -> Response:
    """Return the response to ``error``: a page for people, a document for programs; faults are logged with a reference."""
    reference = ""
    if isinstance(error, FaultError):
        reference = seal.token(16)[:12]
        _log_fault(request, error, reference)
        error.args = (_public(error),)
    if _wants_page(request):
        if type(error) is SignInRequiredError and request.method == "GET" and not hasattr(request.state, "ended"):
            there = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/sign-in?next={quote(there, safe='')}", 303)
        state = getattr(request.scope.get("app"), "state", None)
        page: Page = getattr(state, "problem_page", None) or plain_page
        return page(request, error, reference)
    problem = describe(error, reference)
    kind = "about:blank" if request.url.path.startswith("/internal/") else ""
    headers = {"WWW-Authenticate": f'Bearer realm="sulku", error="{problem.code}"'} if problem.status == 401 else {}
    if isinstance(error, WrongMethodError):
        headers["Allow"] = ", ".join(error.allowed)
    return JSONResponse(problem.document(kind), problem.status, media_type=MEDIA, headers=headers)


def _wants_page(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith(("/api/", "/internal/"))


def plain_page(request: Request, error: SulkuError, reference: str = "") -> Response:
    """Return the page of last resort, for when there are no templates."""
    del request
    problem = describe(error, reference)
    wrong = "".join(f"<li>{html.escape(field)}: {html.escape(what)}</li>" for field, what in problem.fields)
    said = [problem.detail, *problem.reasons, problem.remedy, f"Reference: {problem.reference}" if problem.reference else ""]
    text = "".join(f"<p>{html.escape(line)}</p>" for line in said if line)
    head = f"<!doctype html><html lang=en-GB><title>{html.escape(problem.title)} – sulku</title>"
    return HTMLResponse(f"{head}<main><h1>There is a problem</h1>{text}<ul>{wrong}</ul></main>", problem.status)


def _log_fault(request: Request, error: BaseException, reference: str) -> None:
    """Log an allow-list: which kind of error where, never its message, the query, a header or a body."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    route = request.scope.get("route")
    _LOG.error(
        "fault",
        reference=reference,
        error=type(error).__name__,
        cause=type(error.__cause__).__name__ if error.__cause__ else "",
        method=request.method,
        route=getattr(route, "path", ""),
        where=[f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames],
    )


class CatchAll:
    """Turns what nobody foresaw into an answer with a reference, and into one line of the log."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap ``app``."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; what is raised ends here."""
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, noting)
        except Exception as error:
            if scope["type"] != "http" or begun:
                raise
            unexpected = UnexpectedError("something that nobody foresaw")
            unexpected.__cause__, unexpected.__traceback__ = error, error.__traceback__
            await answer(Request(scope), unexpected)(scope, receive, send)


def install(app: FastAPI, page: Page | None = None) -> None:
    """Have ``app`` answer every error by this module; ``page`` draws a problem for people."""
    app.state.problem_page = page

    async def known(request: Request, error: Exception) -> Response:
        return answer(request, _translate(request, error))

    for kind in (SulkuError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, known)


def _translate(request: Request, error: Exception) -> SulkuError:
    match error:
        case SulkuError():
            return error
        case RequestValidationError():
            fields = [(_place(one["loc"]), told(_code(one["type"]), str(one["msg"]))) for one in error.errors()]
            return InvalidInputError("something asked for is missing or of the wrong kind", fields=fields)
        case HTTPException(status_code=405):
            return WrongMethodError(request.method, (error.headers or {}).get("Allow", "GET").split(", "))
        case HTTPException(status_code=404):
            return NotFoundError("there is nothing at this address")
        case HTTPException(status_code=413):
            return TooLargeError("the body is too large")
        case _:
            return InvalidInputError("the request cannot be read")


_CODES: Final = (  # the kinds of error that pydantic tells, and what they are called here
    (r"missing|string_too_short|too_short", Wrong.MISSING),
    (r"string_too_long|too_long|bytes_too_long", Wrong.TOO_LONG),
    (r"literal_error|enum", Wrong.UNKNOWN_VALUE),
    (r"extra_forbidden", Wrong.UNKNOWN_FIELD),
    (r"greater_than.*|less_than.*|finite_number", Wrong.OUT_OF_RANGE),
    (r"string_unicode", Wrong.UNSAFE_TEXT),
    (r".*_type|.*_parsing|int_from_float", Wrong.WRONG_TYPE),
)


def _code(kind: str) -> Wrong:
    """Return the stable code for a kind of error that pydantic tells."""
    return next((code for pattern, code in _CODES if re.fullmatch(pattern, kind)), Wrong.MALFORMED)


def _place(where: Sequence[str | int]) -> str:
    """Return where a field is, as the core writes it: ``edition.variables[0].name``."""
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in where[1:])
    return steps.removeprefix(".") or str(where[0])
