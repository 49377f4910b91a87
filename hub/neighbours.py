"""One question over a unix socket, for the spawner (to the broker) and the proxy class (to the gateway)."""

from __future__ import annotations

from typing import Any

import aiohttp

from hub.settings import token
from sulku.errors import BrokerUnavailableError, RelayedRefusalError


async def ask(socket: str, token_file: str, method: str, path: str, body: object = None, *, patience: float = 10.0) -> dict[str, Any]:
    """Return the JSON object that ``method path`` on ``socket`` is answered with; empty for 204.

    Raises:
        BrokerUnavailableError: No answer in time, or one that cannot be read.
        RelayedRefusalError: It said no.
    """
    wait = aiohttp.ClientTimeout(total=patience)
    headers = {"Authorization": f"Bearer {token(token_file)}"}
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=socket), timeout=wait, headers=headers) as session,
            session.request(method, f"http://neighbour{path}", json=body) as answer,
        ):
            value = {} if answer.status == 204 else await answer.json(content_type=None)
            status = answer.status
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise BrokerUnavailableError(f"{method} {path}: {type(error).__name__}") from error
    if not isinstance(value, dict) or status >= 500:
        detail = value.get("detail", "") if isinstance(value, dict) else ""
        raise BrokerUnavailableError(f"{method} {path}: {status} {detail}".rstrip())
    if status >= 400:
        raise RelayedRefusalError(status, str(value.get("code")), str(value.get("detail", "")), str(value.get("remedy", "")))
    return value
