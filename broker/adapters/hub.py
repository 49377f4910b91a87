"""JupyterHub over its link: it spawns by asking us, and nobody else may start or stop a server."""

from __future__ import annotations

import json
import ssl
import time
from typing import Final

import httpx2

from broker.adapters.neighbours import client
from sulku import ids
from sulku.errors import HubUnavailableError
from sulku.links import Address
from sulku.tunnels import Tunnel

POLL: Final = 0.1  # seconds between looks at a server that stops
TIMEOUT: Final = 90.0  # seconds for a spawn as a whole


class JupyterHub:
    """The hub's REST API, 6.x, with the narrow token of service ``broker``. Implements ``sulku.ports.Hub``."""

    def __init__(self, address: Address, token: str, channel: ssl.SSLContext | None = None) -> None:
        """Talk to the hub that listens at ``address``; by TCP through ``channel``."""
        self._http = client(address, channel, f"token {token}", prefix="/hub/api", timeout=15)

    def start(self, tunnel: Tunnel) -> None:
        """Have the hub spawn the tunnel's server; returns when it is ready, and at once if it is already.

        Raises:
            HubUnavailableError: The hub is away, refuses, or the server failed.
        """
        user, server = tunnel.person, ids.label(tunnel.id)
        self._call("POST", f"/users/{user}", ok={201, 409})
        body = {"display_name": tunnel.id, "user_options": {"tunnel": tunnel.id}}
        answer = self._call("POST", f"/users/{user}/servers/{server}", body=body, ok={201, 202, 400})
        if answer.status_code == 400 and not self._server(user, server):
            raise HubUnavailableError(f"the hub refused: {answer.json().get('message', '')[:300]}")
        last = self._follow(user, server)
        if not last.get("ready"):
            raise HubUnavailableError(f"the hub could not start the workspace: {str(last.get('message', 'no reason given'))[:300]}")

    def stop(self, tunnel: Tunnel) -> None:
        """Have the hub stop and forget the tunnel's server; nothing if it has none.

        Raises:
            HubUnavailableError: The hub is away.
        """
        path = f"/users/{tunnel.person}/servers/{ids.label(tunnel.id)}"
        deadline = time.monotonic() + TIMEOUT
        while self._call("DELETE", path, body={"remove": True}, ok={202, 204, 404}).status_code == 202:
            if time.monotonic() > deadline:
                raise HubUnavailableError("the hub did not stop the workspace")
            time.sleep(POLL)

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def _follow(self, user: str, server: str) -> dict[str, object]:
        """Return the hub's last word on a spawn. It tells at once; asking again and again would slow what we wait for.

        While it clears up after a spawn that failed the hub calls the server "not starting" and has the reason only then.
        """
        settled = False
        while True:
            status, last = self._told(f"/users/{user}/servers/{server}/progress")
            if status == 200:
                return last
            if status != 400 or settled:
                raise HubUnavailableError(f"the hub could not start the workspace: it answered {status} to how it goes")
            settled = not self._server(user, server).get("pending")
            time.sleep(POLL)

    def _told(self, path: str) -> tuple[int, dict[str, object]]:
        """Return the status, and the event that ended the hub's account of a spawn."""
        deadline = time.monotonic() + TIMEOUT
        try:
            with self._http.stream("GET", path) as answer:
                for line in answer.iter_lines():  # an empty one every few seconds, while nothing happens
                    said = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
                    if said.get("ready") or said.get("failed"):
                        return answer.status_code, said
                    if time.monotonic() > deadline:
                        raise HubUnavailableError(f"the workspace was not ready after {TIMEOUT:.0f} seconds")
                return answer.status_code, {}
        except (httpx2.HTTPError, ValueError) as error:
            raise HubUnavailableError(f"the hub does not answer: {error}") from None

    def _server(self, user: str, server: str) -> dict[str, object]:
        answer = self._call("GET", f"/users/{user}/servers/{server}", ok={200, 404})
        return answer.json() if answer.status_code == 200 else {}

    def _call(self, method: str, path: str, *, ok: set[int], body: object = None) -> httpx2.Response:
        try:
            answer = self._http.request(method, path, json=body)
        except httpx2.HTTPError as error:
            raise HubUnavailableError(f"the hub does not answer: {error}") from None
        if answer.status_code not in ok:
            raise HubUnavailableError(f"the hub answered {answer.status_code} to {method} {path}: {answer.text[:300]}")
        return answer
