"""The operator's page for erasing who somebody was, once they have left; other records are erased by command or API."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from broker.flows import erasure
from broker.web import views
from broker.web.pages import render
from broker.web.pages.asks import By, Form, World, confirmed
from broker.web.pages.directory import one
from sulku.errors import NotFoundError
from sulku.people import Person, Role

router = APIRouter()


@router.get("/people/{person}/erase")
def erasing(request: Request, ports: World, by: By, person: str) -> Response:
    """Ask on which legal ground."""
    if by.role is not Role.OPERATOR:
        raise NotFoundError("there is nothing at this address that you may see")
    return render.page(request, _erase(one(ports, by, person)))


def _erase(known: Person, given: dict[str, str] | None = None) -> views.Confirm:
    return views.Confirm(
        title=f"Erase who {known.name or known.id} was?",
        consequence=(
            "Their name, their address and what was written about them in the directory are deleted for good.",
            "So are the decisions that show them, which then cannot be replayed.",
            "What they did stays in the ledger, under their reference. Backups and bundles that were made before still hold the name.",
        ),
        button="Erase",
        action=f"/people/{known.id}/erase",
        back=f"/people/{known.id}",
        reason="Legal ground",
        reason_hint="For example: GDPR Art. 17(1)(a), request 2026/41. It stays in the ledger for ever: name nobody.",
        version=known.version,
        given=given or {},
        command=f"sulku ledger erase {known.id} --ground …",
    )


@router.post("/people/{person}/erase")
def erase(request: Request, ports: World, by: By, person: str, sent: Form) -> Response:
    """Erase it."""
    known = one(ports, by, person)

    def do() -> object:
        return erasure.erase(ports, by, person, " ".join(sent.reason().split()))

    return confirmed(request, known, sent, _erase, do, f"/people/{person}")
