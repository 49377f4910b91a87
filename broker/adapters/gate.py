"""The gateways' control, as the broker uses it: cut a tunnel's sockets at once, in every gateway that runs."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import httpx2

from broker.adapters.neighbours import client
from sulku.errors import GateUnavailableError
from sulku.links import Address

PATIENCE = 2.0  # seconds


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

    def _ask(self, method: str, path: str, body: object = None) -> tuple[list[dict[str, Any]], list[GateUnavailableError]]:
        """Ask every gateway at once; return what they answered, and what went wrong."""
        if self._one is not None:
            tried = [_tried(self._one, method, path, body)]
        else:
            places = self._resolve(self._address)
            with ThreadPoolExecutor(len(places)) as pool:
                tried = list(pool.map(lambda place: self._once(place, method, path, body), places))
        return [one for one in tried if isinstance(one, dict)], [one for one in tried if not isinstance(one, dict)]

    def _client(self, place: Address) -> httpx2.Client:
        return client(place, self._channel, f"Bearer {self._token}", timeout=PATIENCE)

    def _once(self, place: Address, method: str, path: str, body: object) -> dict[str, Any] | GateUnavailableError:
        with closing(self._client(place)) as http:
            return _tried(http, method, path, body)


def _tried(http: httpx2.Client, method: str, path: str, body: object) -> dict[str, Any] | GateUnavailableError:
    try:
        answer = http.request(method, path, json=body)
        answer.raise_for_status()
        return dict(answer.json())
    except (httpx2.HTTPError, ValueError) as error:
        return GateUnavailableError(f"the gateway does not answer: {error}")
