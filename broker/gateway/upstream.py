"""The gateway's one client of the broker: JSON over its link, with a bearer token and short patience."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import aiohttp
import orjson

from sulku import links
from sulku.errors import BrokerUnavailableError, RelayedRefusalError
from sulku.links import Address

LARGEST_ANSWER = 16 * 1024 * 1024


class Broker:
    """Ask the broker's internal API."""

    def __init__(self, address: Address, token: str, channel: ssl.SSLContext | None = None) -> None:
        """Keep where to ask, and by TCP through what; nothing is opened before the first question."""
        self._address, self._token, self._channel = address, token, channel
        self._session: aiohttp.ClientSession | None = None

    async def get(self, path: str, *, patience: float = 0.8) -> dict[str, Any]:
        """Return the answer to GET ``path``, waiting at most ``patience`` seconds.

        Raises:
            BrokerUnavailableError: No answer in time, or one that is not a JSON object.
            RelayedRefusalError: The broker said no.
        """
        return await self._ask("GET", path, None, {}, patience)

    async def post(self, path: str, body: object, *, patience: float = 10.0) -> dict[str, Any]:
        """Return the answer to POST ``path``; ``bytes`` are sent raw, all else as JSON.

        Raises:
            BrokerUnavailableError: No answer in time, or one that is not a JSON object.
            RelayedRefusalError: The broker said no.
        """
        raw = isinstance(body, bytes)
        kind = "application/octet-stream" if raw else "application/json"
        return await self._ask("POST", path, body if raw else orjson.dumps(body), {"Content-Type": kind}, patience)

    async def close(self) -> None:
        """Close the connection."""
        if self._session:
            await self._session.close()

    async def _ask(self, method: str, path: str, data: Any, headers: dict[str, str], patience: float) -> dict[str, Any]:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=connector(self._address, self._channel))
        headers["Authorization"] = f"Bearer {self._token}"
        wait = aiohttp.ClientTimeout(total=patience)
        for left in range(links.TRIES if self._channel else 1, 0, -1):
            try:
                async with self._session.request(
                    method, f"{self._address.url}{path}", data=data, headers=headers, timeout=wait, allow_redirects=False
                ) as answer:
                    return _read(answer.status, await answer.content.read(LARGEST_ANSWER))
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                if left == 1 or not isinstance(error, aiohttp.ClientConnectorError) or isinstance(error, aiohttp.ClientSSLError):
                    raise BrokerUnavailableError(f"the broker did not answer: {type(error).__name__}") from error
            await asyncio.sleep(links.PAUSE)  # nothing was sent
        raise AssertionError("the last try returns or raises")


def connector(address: Address, channel: ssl.SSLContext | None) -> aiohttp.BaseConnector:
    """Return what connects to a part: to its unix socket, or by TCP with mutual TLS."""
    if address.path:
        return aiohttp.UnixConnector(path=address.path)
    if channel is None:
        raise ValueError("between parts TCP is mutual TLS or nothing")
    return aiohttp.TCPConnector(ssl=channel)


def _read(status: int, body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict) or status >= 500 or not (200 <= status < 300 or status >= 400):
        raise BrokerUnavailableError(f"the broker answered {status}")
    if status >= 400:
        raise RelayedRefusalError(status, str(value.get("code", "refused")), str(value.get("detail", "")), str(value.get("remedy", "")))
    return value
