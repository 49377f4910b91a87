"""Entry by ticket, and who is inside: sessions live in memory, each bound to one tunnel, epoch and person."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from broker.gateway import clock
from broker.gateway.record import Record, Tunnel
from broker.gateway.settings import Settings
from broker.gateway.upstream import Broker
from sulku.crypto import seal
from sulku.errors import BadTicketError, NotEnteredError, RelayedRefusalError

TICKET: Final = re.compile(r"[A-Za-z0-9_-]{22,128}")
NONCE_SECONDS = 120
MOST_SESSIONS = 16  # in one tunnel; the oldest goes first


@dataclass(frozen=True, slots=True)
class Session:
    """One browser inside one tunnel."""

    tunnel: str
    epoch: int
    person: str
    name: str
    begun: float


class Entry:
    """Let people in by the broker's tickets."""

    def __init__(self, settings: Settings, broker: Broker, record: Record) -> None:
        """Begin with nobody inside; after a restart people enter again through the broker."""
        self._settings, self._broker, self._record = settings, broker, record
        self._sessions: dict[bytes, Session] = {}
        secure = settings.scheme == "https"
        self.cookie = "__Host-sulku-session" if secure else "sulku-session"
        self.nonce = "__Host-sulku-nonce" if secure else "sulku-nonce"
        self._secure = secure

    def begin(self, tunnel: str) -> web.Response:
        """Set a nonce and send the browser to the broker, which asks policy."""
        nonce = seal.token()
        where = f"{self._settings.broker_url}/enter/{tunnel}?nonce_hash={_hash(nonce).hex()}"
        answer = web.Response(status=303, headers={"Location": where})
        answer.set_cookie(self.nonce, nonce, max_age=NONCE_SECONDS, samesite="Lax", secure=self._secure, httponly=True, path="/")
        return answer

    async def redeem(self, request: web.BaseRequest, tunnel: Tunnel, ticket: str) -> web.Response:
        """Turn a ticket into a session cookie and send the browser to the shell page.

        Raises:
            BadTicketError: It is malformed, this browser has no nonce, or the broker does not take it.
            BrokerUnavailableError: The broker does not answer; the ticket may have been used up.
        """
        nonce = next(iter(cookies(request, self.nonce)), "")
        if not nonce or not TICKET.fullmatch(ticket):
            raise BadTicketError("this ticket was not given to this browser")
        question = {"ticket": ticket, "nonce_hash": _hash(nonce).hex(), "tunnel": tunnel.id}
        try:
            found = await self._broker.post("/internal/gate/tickets/redeem", question)
        except RelayedRefusalError as error:
            raise BadTicketError("the broker does not take this ticket") from error
        if found.get("epoch") != tunnel.epoch:
            await self._record.refresh()
            tunnel = await self._record.tunnel(tunnel.id)
        if (found.get("tunnel"), found.get("epoch"), found.get("person")) != (tunnel.id, tunnel.epoch, tunnel.person):
            raise BadTicketError("this ticket is for something else")
        value = self._admit(tunnel, str(found.get("name", "")))
        answer = web.Response(status=303, headers={"Location": f"{self._settings.gate_origin}/{tunnel.host}/"})
        answer.set_cookie(self.cookie, value, samesite="Strict", secure=self._secure, httponly=True, path="/")
        answer.del_cookie(self.nonce, path="/")
        return answer

    def _admit(self, tunnel: Tunnel, name: str) -> str:
        inside = [key for key, session in self._sessions.items() if session.tunnel == tunnel.id]
        for key in inside[: len(inside) - MOST_SESSIONS + 1]:
            del self._sessions[key]
        value = seal.token()
        self._sessions[_hash(value)] = Session(tunnel.id, tunnel.epoch, tunnel.person, name[:80], clock.boot())
        return value

    def session(self, request: web.BaseRequest, tunnel: Tunnel) -> Session:
        """Return the session of this browser in ``tunnel``.

        A page of another tunnel may have planted cookies of this name, so any that fits is taken and the rest ignored.

        Raises:
            NotEnteredError: No cookie names a session of this tunnel, epoch and person.
        """
        for value in cookies(request, self.cookie):
            found = self._sessions.get(_hash(value))  # by digest: the time of the look-up tells nothing about the value
            if found and (found.tunnel, found.epoch, found.person) == (tunnel.id, tunnel.epoch, tunnel.person):
                return found
        raise NotEnteredError("nobody has entered this tunnel from this browser")

    def leave(self, request: web.BaseRequest) -> None:
        """End the sessions that this browser shows."""
        for value in cookies(request, self.cookie):
            self._sessions.pop(_hash(value), None)

    def forget(self, tunnel: str) -> None:
        """End all sessions of a tunnel."""
        self._sessions = {key: session for key, session in self._sessions.items() if session.tunnel != tunnel}

    def forget_older(self, tunnel: str, epoch: int) -> None:
        """End the sessions of ``tunnel`` that are not of ``epoch``."""
        kept = {key: one for key, one in self._sessions.items() if one.tunnel != tunnel or one.epoch == epoch}
        self._sessions = kept


def cookies(request: web.BaseRequest, name: str) -> list[str]:
    """Return all values of the cookie ``name``, in the order sent; at most 50 cookies are looked at."""
    pairs = ";".join(request.headers.getall("Cookie", ())).split(";")[:50]
    return [value.strip() for key, _, value in (pair.partition("=") for pair in pairs) if key.strip() == name]


def _hash(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).digest()
