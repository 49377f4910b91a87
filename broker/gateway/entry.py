"""Entry by ticket, and who is inside: sessions are bound to one tunnel, epoch and person.

A gateway alone keeps them in memory. Where several share a key, the cookie itself is the session, sealed, and any of them
knows it; what is kept in memory then is which tunnels were cut here, and who left here.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import orjson
from aiohttp import web
from cryptography.fernet import Fernet, InvalidToken

from broker.gateway import clock
from broker.gateway.record import Record, Tunnel
from broker.gateway.settings import Settings, secret
from broker.gateway.upstream import Broker
from sulku.codec import plain, typed
from sulku.crypto import seal
from sulku.errors import BadTicketError, ConfigurationError, InvalidInputError, NotEnteredError, RelayedRefusalError

TICKET: Final = re.compile(r"[A-Za-z0-9_-]{22,128}")
NONCE_SECONDS = 120
MOST_SESSIONS = 16  # in one tunnel; the oldest goes first, unless it is sealed
REMEMBERED = 10_000  # tunnels that were cut, most of which are over for good


@dataclass(frozen=True, slots=True)
class Session:
    """One browser inside one tunnel."""

    tunnel: str
    epoch: int
    person: str
    name: str
    begun: str


class Seal:
    """Turns sessions into cookies that every gateway with the key can read, and nobody else can read or make."""

    def __init__(self, key: str) -> None:
        """Derive this use's key.

        Raises:
            ConfigurationError: It has fewer than 32 characters.
        """
        if len(key) < 32:
            raise ConfigurationError("the gateways' session key needs at least 32 characters")
        derived = hashlib.blake2b(b"sulku/gateway-session/v1", key=key.encode()[:64], digest_size=32).digest()
        self._box = Fernet(base64.urlsafe_b64encode(derived))

    def close(self, session: Session) -> str:
        """Return ``session`` sealed, in characters that a cookie may have."""
        return self._box.encrypt(orjson.dumps(plain(session))).decode().rstrip("=")

    def open(self, value: str) -> Session | None:
        """Return the session in ``value``, or ``None`` if none of us sealed it."""
        try:
            return typed(Session, orjson.loads(self._box.decrypt(value + "=" * (-len(value) % 4))))
        except (InvalidToken, ValueError, InvalidInputError):
            return None


class Entry:
    """Let people in by the broker's tickets."""

    def __init__(self, settings: Settings, broker: Broker, record: Record) -> None:
        """Begin with nobody inside; without a shared key people enter again through the broker after a restart.

        Raises:
            ConfigurationError: The shared key cannot be read, or is too short.
        """
        self._settings, self._broker, self._record = settings, broker, record
        self._sessions: dict[bytes, Session] = {}
        self._seal = Seal(secret(settings.session_key_file)) if settings.session_key_file else None
        self._cut: OrderedDict[str, str] = OrderedDict()  # tunnel -> when; what began before counts no more
        self._left: dict[str, set[bytes]] = {}
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
            tunnel = await self._record.anew(tunnel.id)
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
        session = Session(tunnel.id, tunnel.epoch, tunnel.person, name[:80], clock.now())
        value = self._seal.close(session) if self._seal else seal.token()
        self._sessions[_hash(value)] = session
        return value

    def session(self, request: web.BaseRequest, tunnel: Tunnel) -> Session:
        """Return the session of this browser in ``tunnel``.

        A page of another tunnel may have planted cookies of this name, so any that fits is taken and the rest ignored.

        Raises:
            NotEnteredError: No cookie names a session of this tunnel, epoch and person.
        """
        for value in cookies(request, self.cookie):
            digest = _hash(value)  # by digest: the time of the look-up tells nothing about the value
            found = self._sessions.get(digest) or self._sealed(value)
            if found and (found.tunnel, found.epoch, found.person) == (tunnel.id, tunnel.epoch, tunnel.person):
                self._sessions[digest] = found
                return found
        raise NotEnteredError("nobody has entered this tunnel from this browser")

    def _sealed(self, value: str) -> Session | None:
        """Return the session that another gateway, or this one before it began anew, sealed into ``value``."""
        found = self._seal.open(value) if self._seal else None
        if found is None or found.begun <= self._cut.get(found.tunnel, "") or _hash(value) in self._left.get(found.tunnel, ()):
            return None
        return found

    async def current(self, request: web.BaseRequest, tunnel: Tunnel) -> Tunnel:
        """Return ``tunnel`` as the broker has it now, if a cookie was sealed in a later epoch than this gateway has heard of.

        Raises:
            BrokerUnavailableError: The broker does not answer.
            TunnelEndedError: It has ended.
        """
        for value in cookies(request, self.cookie) if self._seal else ():
            found = None if _hash(value) in self._sessions else self._sealed(value)
            if found and found.tunnel == tunnel.id and found.epoch > tunnel.epoch:
                return await self._record.anew(tunnel.id)
        return tunnel

    def leave(self, request: web.BaseRequest) -> None:
        """End the sessions that this browser shows."""
        for value in cookies(request, self.cookie):
            session = self._sessions.pop(_hash(value), None)
            if session and self._seal:
                self._left.setdefault(session.tunnel, set()).add(_hash(value))

    def forget(self, tunnel: str, now: Tunnel | None) -> None:
        """End all sessions of a tunnel; if it goes on as ``now``, those of its epoch stay."""
        stay = (now.id, now.epoch) if now else None
        self._sessions = {key: one for key, one in self._sessions.items() if one.tunnel != tunnel or (one.tunnel, one.epoch) == stay}
        if now:
            return
        self._left.pop(tunnel, None)
        self._cut[tunnel] = clock.now()
        self._cut.move_to_end(tunnel)
        if len(self._cut) > REMEMBERED:
            self._cut.popitem(last=False)


def cookies(request: web.BaseRequest, name: str) -> list[str]:
    """Return all values of the cookie ``name``, in the order sent; at most 50 cookies are looked at."""
    pairs = ";".join(request.headers.getall("Cookie", ())).split(";")[:50]
    return [value.strip() for key, _, value in (pair.partition("=") for pair in pairs) if key.strip() == name]


def _hash(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).digest()
