"""Finding the person whom a researcher wants to name on an application."""

from __future__ import annotations

from sulku import ids
from sulku.errors import NotFoundError
from sulku.people import Actor, Person, State
from sulku.ports import Ports


def named(ports: Ports, by: Actor, text: str) -> str:
    """Return the id of whom ``text`` names: an e-mail address in the directory, or an id.

    Tells a signed-in person whether an exact address has an account, and nothing else of it.

    Raises:
        NotFoundError: Nobody here has it, or they have left.
    """
    people: list[Person] = ports.store.find("usr")
    wanted = text.strip().lower()
    for one in people:
        if wanted in {one.email.lower(), one.id} and one.state is State.ACTIVE and one.id != by.id:
            return ids.parse(one.id, "usr")
    raise NotFoundError(f"nobody else here has the address {text.strip()[:80]}")
