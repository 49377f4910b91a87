"""The frame around every command: its common options, the connection, and how an error becomes an exit status."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Annotated, Any, Final

import typer

from sulku.errors import ConfirmationNeededError, SulkuError
from sulku_client import config, show
from sulku_client.http import Api

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.", rich_help_panel="Common")]
Server = Annotated[str, typer.Option("--server", metavar="URL", help="The broker's address (SULKU_SERVER).", rich_help_panel="Common")]
As = Annotated[str, typer.Option("--as", metavar="ROLE", help="Act in this role for once (SULKU_ROLE).", rich_help_panel="Common")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask whether you are sure.")]
Why = Annotated[str, typer.Option("--reason", help="Why; others will read it.")]
State = Annotated[list[str] | None, typer.Option("--state", help="Only in this state; may be repeated.")]

_COMMON: Final = (("json", Json, False), ("server", Server, ""), ("act_as", As, ""))


class Here:
    """What a command works with: the connection, and a way to print that suits the reader."""

    def __init__(self, *, json: bool, server: str, act_as: str) -> None:
        """Take the common options; nobody is asked yet."""
        self.json = json
        self.server = config.server(server)
        self.chosen = bool(config.chosen(server))  # whether anybody said where the broker is
        self.role = act_as or os.environ.get("SULKU_ROLE", "") or config.kept(self.server).role
        self.api = Api(self.server, lambda: config.kept(self.server).token or None, self.role)

    def list(self, answer: Mapping[str, Any], columns: Sequence[show.Column]) -> None:
        """Print a listing."""
        if self.json:
            show.as_json(answer)
        else:
            show.table(answer["items"], columns)

    def one(self, record: Mapping[str, Any]) -> None:
        """Print a record."""
        if self.json:
            show.as_json(record)
        else:
            show.record(record)

    def did(self, answer: Mapping[str, Any], said: str) -> None:
        """Print what a change gave: one line for people, the whole answer for programs."""
        if self.json:
            show.as_json(answer)
            return
        entries = ", ".join(f"#{index}" for index in answer.get("entries", ()))
        show.line(f"{said}{f' (ledger {entries})' if entries else ''}")

    def say(self, said: str) -> None:
        """Print a line that only people need."""
        if not self.json:
            show.line(said)

    def sure(self, question: str, *, yes: bool) -> None:
        """Require that somebody is sure of what cannot be undone.

        Raises:
            ConfirmationNeededError: Nobody said yes.
        """
        if yes:
            return
        if self.json or not sys.stdin.isatty() or not typer.confirm(question, err=True):
            raise ConfirmationNeededError(f"not done: {question[0].lower()}{question[1:].rstrip('?')} cannot be undone")


Command = Callable[..., None]


def group(name: str, said: str) -> typer.Typer:
    """Return an empty group of commands for a noun; ``said`` is its line of help."""
    return typer.Typer(name=name, help=said, no_args_is_help=True, rich_markup_mode=None)


def command(app: typer.Typer, name: str) -> Callable[[Command], Command]:
    """Register a function whose first argument is a ``Here``; the common options are added to its own."""

    def register(function: Command) -> Command:
        @wraps(function)
        def run(*, json: bool, server: str, act_as: str, **own: Any) -> None:
            here = None
            try:
                here = Here(json=json, server=server, act_as=act_as)
                function(here, **own)
            except SulkuError as error:
                show.refusal(error, json=json)
                raise typer.Exit(error.exit) from None
            finally:
                if here is not None:
                    here.api.close()

        signature = inspect.signature(function, eval_str=True)
        own = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in list(signature.parameters.values())[1:]]
        common = [
            inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind) for each, kind, default in _COMMON
        ]
        run.__signature__ = signature.replace(parameters=[*own, *common])  # type: ignore[attr-defined]  # what Typer reads
        run.__annotations__ = {one.name: one.annotation for one in (*own, *common)}
        app.command(name)(run)
        return function

    return register
