"""Who you are: signing in and out, and the role to act in."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Annotated

import typer

from sulku.errors import AnsweredNoError, ServerUnreachableError
from sulku_client import config, login, show
from sulku_client.frame import Here, command
from sulku_client.show import Column

NOTICES = (Column("When", "at"), Column("What", "what", prose=True), Column("About", "about"))


def add(app: typer.Typer) -> None:
    """Add ``login``, ``logout``, ``whoami``, ``role`` and ``notices``."""

    @command(app, "login")
    def sign_in(
        here: Here, *, device: Annotated[bool, typer.Option("--device", help="Sign in by a browser on another machine.")] = False
    ) -> None:
        """Sign in, and remember this broker."""
        issuer = login.discover(here.api.get("/sign-in"))
        remote = device or not sys.stdin.isatty() or "SSH_CONNECTION" in os.environ
        kept = login.by_device(issuer, _show_code) if remote else login.by_browser(issuer, _show_address)
        config.keep(here.server, kept)
        me = here.api.get("/me")
        config.keep(here.server, replace(kept, name=me["name"], role=""))
        config.remember_server(here.server)
        here.did(me, f"Signed in at {here.server} as {me['name']}, acting as {me['role']}.")

    @command(app, "logout")
    def sign_out(here: Here) -> None:
        """End the sign-in at this broker, and forget it."""
        try:
            if config.kept(here.server).token:
                here.api.post("/sign-out")
        except ServerUnreachableError:
            raise ServerUnreachableError(f"forgotten here, but {here.server} does not answer: the token is good until it ends") from None
        except AnsweredNoError as error:
            if error.status != 401:  # then it had ended already
                raise
        finally:
            config.keep(here.server, None)
        here.did({"server": here.server}, f"Signed out of {here.server}.")

    @command(app, "whoami")
    def whoami(here: Here) -> None:
        """Show who you are here, in which role, and where here is."""
        here.one({"server": here.server, **here.api.get("/me")})

    @command(app, "role")
    def role(here: Here, name: Annotated[str, typer.Argument(metavar="[ROLE]")] = "") -> None:
        """Show the roles that you hold, or act in one of them from now on."""
        if name:
            here.api = type(here.api)(here.server, lambda: config.kept(here.server).token or None, name)
        me = here.api.get("/me")
        if name:
            config.keep(here.server, replace(config.kept(here.server), role=name))
        here.did({"role": me["role"], "roles": me["roles"]}, f"You act as {me['role']}; you hold {', '.join(me['roles'])}.")

    @command(app, "notices")
    def notices(here: Here) -> None:
        """List what you were told."""
        here.list(here.api.get("/notices"), NOTICES)


def _show_address(address: str) -> None:
    show.ERR.print(f"Opening your browser. If none opens, visit:\n{address}", markup=False, highlight=False, soft_wrap=True)


def _show_code(address: str, code: str) -> None:
    said = f"Open {address}\nand check that it shows the code {code}."
    show.ERR.print(said, markup=False, highlight=False, soft_wrap=True)
