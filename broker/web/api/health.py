"""Whether the process lives, and whether it can take requests."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from sulku.errors import SulkuError

router = APIRouter(tags=["health"])


@router.get("/healthz", response_model=dict[str, str], responses={503: {"model": dict[str, str], "description": "Its clock stands still."}})
def healthz(request: Request) -> Response:
    """Say whether the process lives, its clock included, which ends tunnels at their deadlines. Public."""
    alive = request.app.state.alive()
    return JSONResponse({"status": "ok" if alive else "stuck"}, 200 if alive else 503)


@router.get("/readyz", response_model=dict[str, str], responses={503: {"model": dict[str, str], "description": "Not ready."}})
def readyz(request: Request) -> Response:
    """Say, part by part, whether what the broker needs works; which part, never why. Public."""
    found = {}
    for check in request.app.state.checks:
        try:
            check.require()
            found[check.name] = "ok"
        except (SulkuError, OSError):
            found[check.name] = "down"
    return JSONResponse(found, 200 if all(state == "ok" for state in found.values()) else 503)
