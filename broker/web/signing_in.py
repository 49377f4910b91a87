"""The few addresses of signing in and out, and of choosing the role to act in."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse

from broker.flows import tunnels
from broker.web.identity import Identity, local_path


def router(identity: Identity) -> APIRouter:
    """Return the routes, none of them part of the API's description."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/sign-in")
    def sign_in(after: Annotated[str, Query(alias="next")] = "/") -> RedirectResponse:
        """Send the browser to the issuer."""
        address, sealed = identity.leave(identity.redirect_uri, after)
        response = RedirectResponse(address, 303)
        identity.keep_pending(response, sealed)
        return response

    @routes.get("/signed-in")
    def signed_in(request: Request) -> RedirectResponse:
        """Take the issuer's answer and begin a session."""
        session, after = identity.arrive(request)
        response = RedirectResponse(after, 303)
        identity.keep(response, session)
        return response

    @routes.post("/sign-out")
    def sign_out(request: Request) -> RedirectResponse:
        """End the session here, at the issuer, and inside every tunnel of theirs."""
        if request.state.actor is not None:
            tunnels.leave(identity.ports, request.state.actor.id, request.state.actor)
        response = RedirectResponse(identity.relying.sign_out_url(identity.settings.url.rstrip("/") + "/"), 303)
        identity.sign_out(request, response)
        return response

    @routes.post("/role")
    def role(request: Request, role: Annotated[str, Form()], after: Annotated[str, Form(alias="next")] = "/") -> RedirectResponse:
        """Act in another role that the person holds."""
        response = RedirectResponse(local_path(after), 303)
        identity.keep(response, identity.switch(request, role))
        return response

    return routes
