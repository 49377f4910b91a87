"""What every page's handler needs: who asks, the form that was sent, and the guard against stale pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from fastapi.responses import Response
from starlette.datastructures import FormData

from broker.flows import people, stories
from broker.web.api.asking import Anyone, By, World
from broker.web.pages import render, sentences
from broker.web.views import Act, Moment, View
from sulku import ids
from sulku.errors import InvalidInputError, StaleError
from sulku.people import Actor
from sulku.ports import Ports

LEAST_REASON: Final = 10  # characters; the lifecycles ask for as many


class Sent:
    """A form as it was sent: texts only, files are not taken."""

    def __init__(self, data: FormData) -> None:
        """Keep the texts."""
        self._data = [(name, value) for name, value in data.multi_items() if isinstance(value, str)]

    def __getitem__(self, name: str) -> str:
        """Return the last value of ``name``, or nothing."""
        return next((value for field, value in reversed(self._data) if field == name), "")

    def every(self, name: str) -> tuple[str, ...]:
        """Return every value of ``name``, in order, each once."""
        return tuple(dict.fromkeys(value for field, value in self._data if field == name))

    def lines(self, name: str) -> tuple[str, ...]:
        """Return the lines of ``name`` that hold something."""
        return tuple(line.strip() for line in self[name].splitlines() if line.strip())

    def number(self, name: str, what: str) -> int:
        """Return ``name`` as a whole number.

        Raises:
            InvalidInputError: It is none.
        """
        text = self[name].strip()
        if not (text.isascii() and text.isdecimal() and len(text) <= 12):
            raise InvalidInputError(f"{what}: give a whole number", fields=[(name, f"{what}: give a whole number")])
        return int(text)

    def reason(self) -> str:
        """Return the reason, which others will read.

        Raises:
            InvalidInputError: It says too little.
        """
        if len(self["reason"].strip()) < LEAST_REASON:
            said = f"Say why, in at least {LEAST_REASON} characters"
            raise InvalidInputError(said, fields=[("reason", said)])
        return self["reason"].strip()

    @property
    def key(self) -> str | None:
        """Return the idempotency key that the form came with."""
        return self["key"][:100] or None

    @property
    def all(self) -> dict[str, str]:
        """Return the last value of each field, to show them again."""
        return dict(self._data)


async def _sent(request: Request) -> Sent:
    return Sent(await request.form(max_files=0, max_fields=2000))


Form = Annotated[Sent, Depends(_sent)]


def same(record: Any, sent: Sent) -> None:
    """Require that nobody acted since the page of ``sent`` was made.

    Raises:
        StaleError: Somebody did.
    """
    if sent["version"] and sent["version"] != str(record.version):
        raise StaleError(f"{record.id} has moved on since you opened the page")


def confirmed(request: Request, known: Any, sent: Sent, page: Callable[[Any, dict[str, str]], View], do: Callable[[], object], to: str) -> Response:
    """Do what somebody confirmed on a page about ``known``, and lead on; what is wrong with the form brings the page back.

    Raises:
        StaleError: Somebody acted since the page was made.
    """
    try:
        same(known, sent)
        do()
    except InvalidInputError as error:
        return render.again(request, page(known, sent.all), error)
    return render.to(to)


def require(given: object, field: str, text: str) -> None:
    """Require that a field of a form holds something.

    Raises:
        InvalidInputError: It is empty; ``text`` says what to do.
    """
    if not given:
        raise InvalidInputError(text, fields=[(field, text)])


def key() -> str:
    """Return a fresh idempotency key for a form."""
    return ids.new("dec")


def history(ports: Ports, by: Actor, shown: Any) -> tuple[Moment, ...]:
    """Return *What happened* to a record that the reader was shown."""
    names = people.names(ports)
    return tuple(sentences.moment(entry, by, names) for entry in stories.of(ports, by, shown))


__all__ = ["Act", "Anyone", "By", "Form", "Sent", "World", "history", "key", "require", "same"]
