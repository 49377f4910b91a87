"""JSON over a unix socket, for the hub's two neighbours."""

from __future__ import annotations

from typing import Any

import aiohttp

from hub.settings import secret


class Refused(Exception):
    """The neighbour said no; ``status`` and ``detail`` are its words."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        """Keep what it said."""
        super().__init__(f"{status} {code}: {detail}")
        self.status, self.code, self.detail = status, code, detail


async def ask(
    socket: str, token_file: str, method: str, path: str, *, params: dict[str, str] | None = None, body: Any = None, seconds: float = 70
) -> Any:
    """Call ``path`` and return its JSON, ``None`` if it has none.

    Raises:
        Refused: It answered with an error.
        OSError: It does not answer.
    """
    headers = {"Authorization": f"Bearer {secret(token_file)}"}
    timeout = aiohttp.ClientTimeout(total=seconds)
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket), headers=headers, timeout=timeout) as session:
        async with session.request(method, f"http://neighbour{path}", params=params, json=body) as answer:
            said = await answer.json(content_type=None) if answer.content_length != 0 and answer.status != 204 else None
            if answer.status >= 400:
                problem = said if isinstance(said, dict) else {}
                raise Refused(answer.status, str(problem.get("code", "")), str(problem.get("detail", ""))[:300])
            return said
