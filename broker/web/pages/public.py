"""What everybody may read: the first page, the register, the catalogue, help."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from broker.flows import datasets, permits
from broker.web import views
from broker.web.pages import render, words
from broker.web.pages.asks import Act, Anyone, World, history, key
from sulku.codec import plain
from sulku.datasets import Dataset, State
from sulku.errors import NotFoundError
from sulku.people import PUBLIC, Actor, Role

router = APIRouter()
HEAD = ("permit", "title", "purpose", "organisation", "datasets", "starts", "ends", "state")


@router.get("/")
def front(request: Request, ports: World) -> Response:
    """Show the first page."""
    listed = [one for one in datasets.listing(ports, PUBLIC) if one.state is State.LISTED]
    return render.page(request, views.Front(len(listed), len(permits.register(ports))))


@router.get("/home")
def home(by: Anyone) -> Response:
    """Send the reader to where their work is."""
    return render.to(render.HOMES.get(by.role, "/"))


@router.get("/register")
def register(request: Request, ports: World) -> Response:
    """Show the public register of permits."""
    return render.page(request, views.Register(permits.register(ports)))


@router.get("/register.csv")
def register_csv(ports: World) -> Response:
    """Return the register as CSV."""
    rows = [plain(row) for row in permits.register(ports)]
    return render.rows_as_csv(
        "register", HEAD, [[" ".join(row[name]) if name == "datasets" else row[name] for name in HEAD] for row in rows]
    )


@router.get("/register.json")
def register_json(ports: World) -> Response:
    """Return the register as JSON."""
    return JSONResponse({"permits": plain(permits.register(ports))})


@router.get("/register/status")
def status_list(ports: World) -> Response:
    """Return the signed status list of today."""
    return render.download(permits.status_list(ports), "permit-status.json")


@router.get("/datasets")
def catalogue(request: Request, ports: World, by: Anyone) -> Response:
    """Show every dataset."""
    return render.page(request, views.Catalogue(datasets.listing(ports, by)))


@router.get("/datasets/{dataset}")
def dataset(request: Request, ports: World, by: Anyone, dataset: str) -> Response:
    """Show one dataset."""
    known = datasets.view(ports, by, dataset)
    if not known.editions:
        raise NotFoundError(f"there is no dataset {dataset}")
    return render.page(request, views.DatasetPage(known, known.editions[-1], _acts(known, by), history(ports, by, known)))


def _acts(known: Dataset, by: Actor) -> tuple[Act, ...]:
    gone = ("It was withdrawn from the catalogue. Ask its controller.",) if known.state is not State.LISTED else ()
    if by.role is Role.PUBLIC:
        return (Act("Sign in to apply", f"/sign-in?next=/datasets/{known.id}"),)
    if by.role is Role.RESEARCHER:
        return (Act("Apply to use this", f"/applications?dataset={known.id}", post=True, against=gone, key=key()),)
    if by.role is Role.STEWARD:
        return (
            Act("Withdraw from the catalogue", f"/datasets/{known.id}/withdraw", "plain", against=gone),
            Act("Halt its tunnels", f"/halt?scope=dataset&identifier={known.id}", "bad"),
        )
    return ()


@router.get("/accessibility")
def accessibility(request: Request) -> Response:
    """Show the accessibility statement."""
    return render.page(request, views.Accessibility())


@router.get("/help")
def help_(request: Request) -> Response:
    """Show help and the glossary."""
    return render.page(request, views.Help(words.GLOSSARY))
