"""One question to a neighbour, for the spawner (to the broker) and the proxy class (to the gateway), and the door of the hub itself."""

from __future__ import annotations

import asyncio
import ssl
from functools import cache
from typing import Any

import aiohttp
from tornado.httpserver import HTTPServer

from hub.settings import read, token
from sulku import links
from sulku.crypto import channels
from sulku.errors import BrokerUnavailableError, RelayedRefusalError
from sulku.links import BROKER, GATEWAY, HUB, Address


class Door(HTTPServer):
    """The server that JupyterHub makes for its API, with mutual TLS by our own context; its own trusts every public authority."""

    def initialize(self, *arguments: Any, **options: Any) -> None:
        """Begin as usual, but for the context."""
        super().initialize(*arguments, **{**options, "ssl_options": channels.listening(read().files, HUB)})


@cache
def neighbour(to: str) -> tuple[Address, str, ssl.SSLContext | None]:
    """Return address and token file of the part ``to``, and the context to call it with by TCP.

    Raises:
        ConfigurationError: The address is none, or a certificate that it needs does not serve.
    """
    settings = read()
    text, token_file = {
        BROKER: (settings.broker_address, settings.spawner_token_file),
        GATEWAY: (settings.gateway_address, settings.gateway_token_file),
    }[to]
    address = links.address(text)
    return address, token_file, None if address.path else channels.calling(settings.files, HUB, to)


async def ask(to: str, method: str, path: str, body: object = None, *, patience: float = 10.0) -> dict[str, Any]:
    """Return the JSON object that ``to`` answers ``method path`` with; empty for 204.

    Raises:
        BrokerUnavailableError: No answer in time, or one that cannot be read.
        RelayedRefusalError: It said no.
    """
    tries = links.TRIES if neighbour(to)[2] else 1
    for left in range(tries - 1, -1, -1):
        try:
            status, value = await _once(to, method, path, body, patience)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            if not left or not isinstance(error, aiohttp.ClientConnectorError) or isinstance(error, aiohttp.ClientSSLError):
                raise BrokerUnavailableError(f"{method} {path}: {type(error).__name__}") from error
        else:
            return _read(method, path, status, value)
        await asyncio.sleep(links.PAUSE)  # nothing was sent
    raise AssertionError("the last try returns or raises")


async def _once(to: str, method: str, path: str, body: object, patience: float) -> tuple[int, Any]:
    address, token_file, channel = neighbour(to)
    headers = {"Authorization": f"Bearer {token(token_file)}"}
    connector = aiohttp.TCPConnector(ssl=channel) if channel else aiohttp.UnixConnector(path=address.path)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=patience), headers=headers) as session,
        session.request(method, f"{address.url}{path}", json=body, allow_redirects=False) as answer,
    ):
        return answer.status, {} if answer.status == 204 else await answer.json(content_type=None)


def _read(method: str, path: str, status: int, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or status >= 500:
        detail = value.get("detail", "") if isinstance(value, dict) else ""
        raise BrokerUnavailableError(f"{method} {path}: {status} {detail}".rstrip())
    if status >= 400:
        raise RelayedRefusalError(status, str(value.get("code")), str(value.get("detail", "")), str(value.get("remedy", "")))
    return value
