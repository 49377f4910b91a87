"""The gateways' control: cut a tunnel's sockets at once, in every gateway that runs, and reach a pod through one of them."""

from __future__ import annotations

import base64
import errno
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import httpx2

from broker.adapters.neighbours import client
from sulku.errors import GateUnavailableError, InvalidInputError, NotAPodError, WorkspaceUnavailableError
from sulku.links import Address

PATIENCE = 2.0  # seconds
USED = 90.0  # seconds after which nobody can be waiting any more: a line takes at most a minute
AGE = 60.0  # seconds after which a connection is made anew: so renewed certificates, ours and theirs, come into force


def every(address: Address) -> list[Address]:
    """Return each address that the name in ``address`` stands for now: of a headless service, each of its pods.

    Raises:
        GateUnavailableError: It stands for none.
    """
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise GateUnavailableError(f"nobody knows where {address.host} is: {error}") from None
    return [replace(address, host=str(host)) for host in dict.fromkeys(one[4][0] for one in found)]


class GateControl:
    """Talks to every gateway. Implements ``sulku.ports.Gate``."""

    def __init__(
        self,
        address: Address,
        token: str,
        channel: ssl.SSLContext | None = None,
        *,
        resolve: Callable[[Address], list[Address]] = every,
    ) -> None:
        """Talk to the gateways whose control is at ``address``: one by a unix socket, any number behind a name by TCP."""
        self._address, self._resolve = address, resolve
        self._token, self._channel = token, channel
        self._one = self._client(address) if address.path else None
        self._answered = address  # by which gateway a pod was reached last: one that is away costs its patience once
        self._ways = Ways(partial(self._client, kept=AGE))

    def cut(self, tunnel: str, reason: str) -> int:
        """Close every socket of ``tunnel`` and return how many there were.

        Raises:
            GateUnavailableError: A gateway is away; all others have cut, and it cuts by its own clock and by the record.
        """
        answers, failures = self._ask("POST", "/control/cut", {"tunnel": tunnel, "reason": reason})
        if failures:
            raise failures[0]
        return sum(int(answer["sockets"]) for answer in answers)

    def health(self) -> dict[str, object]:
        """Return what a gateway says of itself.

        Raises:
            GateUnavailableError: None answers.
        """
        answers, failures = self._ask("GET", "/control/health")
        if not answers:
            raise failures[0]
        return answers[0]

    def reach(self, host: str, port: int, line: bytes, seconds: float) -> bytes:
        """Return the line that a pod answers to ``line``, through a gateway: the way of ``podline.Reach``.

        A gateway that is away or busy is passed over, and one that has hung up since it was asked last is asked again. The line may
        then arrive twice; each is sealed to be taken once.

        Raises:
            OSError: The pod does not answer.
            InvalidInputError: The line or its time is longer than a gateway carries.
            NotAPodError: The gateways may not connect there.
            GateUnavailableError: No gateway answers, or not in time.
        """
        where = str(Address(scheme="http", host=host, port=port))
        asked = {"address": where, "line": base64.b64encode(line).decode(), "seconds": seconds}
        until, wrong = time.monotonic() + seconds + PATIENCE, GateUnavailableError("no gateway has time")
        places = [self._address] if self._address.path else self._resolve(self._address)
        self._ways.keep(places)
        for place in sorted(places, key=lambda one: one != self._answered):
            if (left := until - time.monotonic()) < 0:
                break
            found = self._ways.ask(place, partial(_reached, asked=asked, patience=httpx2.Timeout(left, connect=min(left, PATIENCE))))
            if isinstance(found, bytes):
                self._answered = place
                return found
            wrong = found
        raise wrong

    def _ask(self, method: str, path: str, body: object = None) -> tuple[list[dict[str, Any]], list[GateUnavailableError]]:
        """Ask every gateway at once; return what they answered, and what went wrong."""
        if self._one is not None:
            tried = [_tried(self._one, method, path, body)]
        else:
            places = self._resolve(self._address)
            with ThreadPoolExecutor(len(places)) as pool:
                tried = list(pool.map(lambda place: self._once(place, method, path, body), places))
        return [one for one in tried if isinstance(one, dict)], [one for one in tried if not isinstance(one, dict)]

    def _client(self, place: Address, kept: float = 0.0) -> httpx2.Client:
        return client(place, self._channel, f"Bearer {self._token}", timeout=PATIENCE, kept=kept)

    def _once(self, place: Address, method: str, path: str, body: object) -> dict[str, Any] | GateUnavailableError:
        with closing(self._client(place)) as http:
            return _tried(http, method, path, body)


class Ways:
    """Connections to gateways that stay open from one line to the next, for any thread: a handshake costs both ends more than the line."""

    def __init__(self, make: Callable[[Address], httpx2.Client]) -> None:
        """Open by ``make``, when first asked."""
        self._make = make
        self._lock = threading.Lock()
        self._open: dict[Address, tuple[httpx2.Client, float]] = {}
        self._old: list[tuple[httpx2.Client, float]] = []  # and when each was given up: somebody may still be waiting for an answer
        weakref.finalize(self, _close, self._open, self._old)

    def keep(self, places: Collection[Address]) -> None:
        """Give up the ways to all but ``places``, as those gateways are gone, and those that have become too old."""
        now = time.monotonic()
        with self._lock:
            for place, (http, since) in [*self._open.items()]:
                if place not in places or now - since >= AGE:
                    del self._open[place]
                    self._old.append((http, now))
            over = [http for http, since in self._old if now - since >= USED]
            self._old[:] = [one for one in self._old if now - one[1] < USED]
        for one in over:
            one.close()

    def ask(self, place: Address, ask: Callable[[httpx2.Client], bytes | GateUnavailableError]) -> bytes | GateUnavailableError:
        """Return what ``ask`` does by a connection to ``place``, and once more by a fresh one if the other end had let go of it."""
        with self._lock:
            kept = place in self._open
            if not kept:
                self._open[place] = self._make(place), time.monotonic()
            http, _ = self._open[place]
        try:
            return ask(http)
        except (httpx2.NetworkError, httpx2.RemoteProtocolError) as error:
            if not kept or isinstance(error, httpx2.ConnectError):
                return _away(error)
        with closing(self._make(place)) as other:
            try:
                return ask(other)
            except (httpx2.NetworkError, httpx2.RemoteProtocolError) as error:
                return _away(error)


def _close(opened: dict[Address, tuple[httpx2.Client, float]], old: list[tuple[httpx2.Client, float]]) -> None:
    for http, _ in (*opened.values(), *old):
        http.close()


def _away(error: Exception) -> GateUnavailableError:
    return GateUnavailableError(f"the gateway does not answer: {error}")


def _reached(http: httpx2.Client, asked: dict[str, Any], patience: httpx2.Timeout) -> bytes | GateUnavailableError:
    """Return the pod's line, or that this gateway cannot be asked; raise what it says of the pod, or that the line broke."""
    try:
        answer = http.post("/control/reach", json=asked, timeout=patience)
        told = answer.json()
        if answer.status_code == 200:
            return base64.b64decode(told["line"], validate=True)
        code, detail = told["code"], told["detail"]
    except (httpx2.NetworkError, httpx2.RemoteProtocolError):
        raise
    except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
        return _away(error)
    for kind in (NotAPodError, InvalidInputError):
        if code == kind.code:
            raise kind(detail)
    if code == WorkspaceUnavailableError.code:
        raise ConnectionRefusedError(errno.ECONNREFUSED, detail)
    return GateUnavailableError(f"the gateway refuses: {code}: {detail}")


def _tried(http: httpx2.Client, method: str, path: str, body: object) -> dict[str, Any] | GateUnavailableError:
    try:
        answer = http.request(method, path, json=body)
        answer.raise_for_status()
        return dict(answer.json())
    except (httpx2.HTTPError, ValueError) as error:
        return _away(error)
