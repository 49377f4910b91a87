"""A person's hands inside a workspace: HTTP over its socket, and cells run on a real kernel over the websocket."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aiohttp

T = TypeVar("T")
Work = Callable[[aiohttp.ClientSession], Awaitable[T]]


class Lab:
    """One workspace, spoken to as the gateway does: by its socket and with its token."""

    def __init__(self, path: str, token: str) -> None:
        """Keep where it is; the kernel starts with the first cell."""
        self._path, self._token, self._kernel = path, token, ""

    def _with(self, work: Work[T], token: str | None = None) -> T:
        async def run() -> T:
            headers = {"Authorization": f"token {self._token if token is None else token}"}
            connector = aiohttp.UnixConnector(path=self._path)
            async with aiohttp.ClientSession("http://gate.example", connector=connector, headers=headers) as session:
                return await work(session)

        return asyncio.run(run())

    def ask(self, method: str, path: str, body: object = None, token: str | None = None) -> tuple[int, bytes]:
        """Return status and body of one request."""

        async def work(session: aiohttp.ClientSession) -> tuple[int, bytes]:
            origin = {"Origin": "http://elsewhere.example"}  # the gateway's own; the workspace does not judge it
            async with session.request(method, path, json=body, headers=origin) as response:
                return response.status, await response.read()

        return self._with(work, token)

    def run(self, code: str) -> str:
        """Return what ``code`` printed, or the name of what it raised, after an empty line."""
        if not self._kernel:
            self._kernel = json.loads(self.ask("POST", "/api/kernels", {"name": "python3"})[1])["id"]

        async def work(session: aiohttp.ClientSession) -> str:
            async with session.ws_connect(f"/api/kernels/{self._kernel}/channels", max_msg_size=0) as ws:
                await ws.send_str(json.dumps(_execute(code)))
                return await asyncio.wait_for(_read(ws), 120)

        return self._with(work)


def _execute(code: str) -> dict[str, Any]:
    header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "username": "", "session": "s", "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False, "stop_on_error": True}
    return {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell", "buffers": []}


async def _read(ws: aiohttp.ClientWebSocketResponse) -> str:
    said, replied, idle = "", False, False
    while not (replied and idle):
        message = json.loads(await ws.receive_str())
        kind, content = message["msg_type"], message["content"]
        if not message["parent_header"] or message["parent_header"].get("msg_type") != "execute_request":
            continue
        if kind == "stream":
            said += content["text"]
        if kind == "error":
            said += f"\n{content['ename']}: {content['evalue']}"
        replied |= kind == "execute_reply"
        idle |= kind == "status" and content["execution_state"] == "idle"
    return said
