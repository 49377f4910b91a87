"""The gateway's control socket, as the broker uses it: cut a tunnel's sockets at once."""

from __future__ import annotations

from pathlib import Path

import httpx2

from sulku.errors import GateUnavailableError


class GateControl:
    """Talks to one gateway. Implements ``sulku.ports.Gate``."""

    def __init__(self, socket: Path, token: str) -> None:
        """Talk to the gateway whose control socket is ``socket``."""
        transport = httpx2.HTTPTransport(uds=str(socket))
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx2.Client(base_url="http://gateway", transport=transport, headers=headers, timeout=2)

    def cut(self, tunnel: str, reason: str) -> int:
        """Close every socket of ``tunnel`` and return how many there were.

        Raises:
            GateUnavailableError: The gateway is away; it cuts by its own clock and by the record.
        """
        try:
            answer = self._http.post("/control/cut", json={"tunnel": tunnel, "reason": reason})
            answer.raise_for_status()
        except httpx2.HTTPError as error:
            raise GateUnavailableError(f"the gateway does not answer: {error}") from None
        return int(answer.json()["sockets"])

    def health(self) -> dict[str, object]:
        """Return what the gateway says of itself.

        Raises:
            GateUnavailableError: It is away.
        """
        try:
            answer = self._http.get("/control/health")
            answer.raise_for_status()
        except httpx2.HTTPError as error:
            raise GateUnavailableError(f"the gateway does not answer: {error}") from None
        return dict(answer.json())
