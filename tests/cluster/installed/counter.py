"""Somebody who counts in a notebook, cell by cell, and comes back when the line is cut: what an interruption is for a person."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import Any, Final

import aiohttp

from tests.stories.person import Lab

PATIENCE: Final = 10.0  # seconds for the answer to a cell; then the line is as good as cut
COUNT: Final = """
import threading, time
done, ticks = [], []
def tick():
    while True:
        ticks.append(time.monotonic()); time.sleep(0.1)
threading.Thread(target=tick, daemon=True).start()
"""
TOLD: Final = """
import json
print(json.dumps([done, max(b - a for a, b in zip(ticks, ticks[1:])), len(ticks)]))
"""


class Counter:
    """Somebody who runs a cell again and again over one websocket, and connects again, as JupyterLab does, when it is closed.

    Attributes:
        sent: Cells that were answered, each once.
        asked: Cells that were put on a line, those too whose answer was lost with it.
        gaps: Seconds from the last answer before a cut to the first after it, one for each time that the socket had to be opened anew.
        slowest: Seconds that the slowest answer of an uncut socket took.
        strange: What should not have happened: refusals to connect other than a door that is being replaced.
    """

    def __init__(self, lab: Lab) -> None:
        lab.run(COUNT)
        self.lab, self.sent, self.asked, self.slowest = lab, 0, 0, 0.0
        self.gaps: list[float] = []
        self.strange: list[str] = []
        self._stop = threading.Event()
        self._heard = time.monotonic()
        self._cut = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._count()), daemon=True)
        self._thread.start()

    def stop(self) -> tuple[list[int], float]:
        """Stop counting; return the cells as the kernel has them, and the longest pause of a thread in it, in seconds."""
        self._stop.set()
        self._thread.join(60)
        done, pause, _ = json.loads(self.lab.run(TOLD))
        return list(done), float(pause)

    async def _count(self) -> None:
        while not self._stop.is_set():
            try:
                async with self.lab.connected() as (socket, send):
                    if self._cut:
                        await self._find(socket, send)
                    while not self._stop.is_set():
                        await self._cell(socket, send, f"done.append({self.sent})")
                        self.sent += 1
                        await asyncio.sleep(0.2)
            except aiohttp.WSServerHandshakeError as error:
                if error.status < 500:
                    self.strange.append(f"{error.status} {error.message}")
            except (aiohttp.ClientError, OSError, TimeoutError, EOFError):
                pass
            self._cut = not self._stop.is_set()
            await asyncio.sleep(0.2)

    async def _find(self, socket: aiohttp.ClientWebSocketResponse, send: Any) -> None:
        """See whether the cell whose answer was lost has run; who does not know does not run it twice."""
        known = int(await self._cell(socket, send, "print(len(done))"))
        self.sent = known

    async def _cell(self, socket: aiohttp.ClientWebSocketResponse, send: Any, code: str) -> str:
        began = time.monotonic()
        self.asked += 1
        text = await asyncio.wait_for(answer(socket, await send(code)), PATIENCE)
        now = time.monotonic()
        if self._cut:
            self.gaps.append(now - self._heard)
            self._cut = False
        else:
            self.slowest = max(self.slowest, now - began)
        self._heard = now
        return text


async def answer(socket: aiohttp.ClientWebSocketResponse, wanted: str) -> str:
    """Return what a cell printed once it is done; EOFError if the socket ends before."""
    printed: list[str] = []
    idle = replied = False
    async for message in socket:
        said = json.loads(message.data) if message.type is aiohttp.WSMsgType.TEXT else {}
        if said.get("parent_header", {}).get("msg_id") != wanted:
            continue
        if said["msg_type"] == "stream":
            printed.append(said["content"]["text"])
        idle = idle or (said["msg_type"] == "status" and said["content"]["execution_state"] == "idle")
        replied = replied or said["msg_type"] == "execute_reply"
        if idle and replied:
            return "".join(printed)
    raise EOFError("the socket was closed")
