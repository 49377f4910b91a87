"""A kernel's websocket through the gateway: messages by type, executed code recorded first, every byte out paid for."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Final

import aiohttp
from aiohttp import WSMsgType, web
from yarl import URL

from broker.gateway import messages
from broker.gateway.allow import Target
from broker.gateway.budget import Budget
from broker.gateway.messages import Message
from broker.gateway.record import MOVED, Tunnel
from broker.gateway.relay import JSON_HEADERS, Workspaces
from broker.gateway.reports import LONGEST_CODE, Reports
from sulku.errors import (
    BrokerUnavailableError,
    EgressBudgetError,
    NotAllowedError,
    RecorderFullError,
    SulkuError,
    WorkspaceUnavailableError,
)

LARGEST_IN: Final = 16 * 1024 * 1024
LARGEST_OUT: Final = 32 * 1024 * 1024
CUT = 4000  # our close code; the reason says why
TRY_AGAIN = 1013
PATIENCE = 20.0  # seconds that a workspace may take to accept
GRACE = 0.5  # seconds that a browser has to answer a close before its connection is dropped
log = logging.getLogger("sulku.gateway")


class Socket:
    """The browser's end of a websocket, which can be closed at once from outside."""

    def __init__(self, request: web.BaseRequest, *, protocols: tuple[str, ...] = ()) -> None:
        """Prepare for ``request``; nothing is accepted yet."""
        self.ws = web.WebSocketResponse(protocols=protocols, max_msg_size=LARGEST_IN, timeout=GRACE, heartbeat=30, compress=False)
        self._request = request
        self.reason = ""
        self.judged = False  # whether its session was looked at; until then a new epoch is not its end but what it is judged by

    async def close(self, reason: str, code: int = CUT) -> None:
        """Close with ``code`` and ``reason``, and drop the connection if the browser does not answer in time."""
        if reason == MOVED and not self.judged:
            return
        self.reason = self.reason or reason
        transport = self._request.transport
        if self.ws.prepared:
            with suppress(Exception):
                await asyncio.wait_for(self.ws.close(code=code, message=self.reason.encode()[:120]), GRACE * 2)
        if transport:
            transport.abort() if not self.ws.prepared else transport.close()
            asyncio.get_running_loop().call_later(GRACE, transport.abort)


async def events(socket: Socket, request: web.BaseRequest) -> web.WebSocketResponse:
    """Accept an events socket and say nothing on it: JupyterLab wants one, and it needs nothing from the workspace."""
    await socket.ws.prepare(request)
    async for _ in socket.ws:
        pass
    return socket.ws


class Channels:
    """Join browsers to kernels."""

    def __init__(self, workspaces: Workspaces, budget: Budget, reports: Reports) -> None:
        """Keep what every socket needs."""
        self._workspaces, self._budget, self._reports = workspaces, budget, reports

    async def join(self, socket: Socket, request: web.BaseRequest, tunnel: Tunnel, target: Target) -> web.WebSocketResponse:
        """Pass messages both ways until one side closes, the budget ends or the tunnel is cut.

        Raises:
            WorkspaceUnavailableError: The kernel's socket cannot be opened.
        """
        headers = {"Host": JSON_HEADERS["Host"], "Authorization": f"token {tunnel.token}"}
        session, origin = await self._workspaces.reach(tunnel)
        try:
            async with asyncio.timeout(PATIENCE):
                inner = await session.ws_connect(
                    URL(f"{origin}{target.rebuilt()}", encoded=True), headers=headers, protocols=(messages.V1,),
                    max_msg_size=LARGEST_OUT, timeout=aiohttp.ClientWSTimeout(ws_close=GRACE), autoping=True,
                )  # fmt: skip
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise WorkspaceUnavailableError(f"the kernel's socket cannot be opened: {type(error).__name__}") from error
        async with inner:
            if inner.protocol != messages.V1:
                raise WorkspaceUnavailableError("the workspace does not speak the kernel protocol")
            await socket.ws.prepare(request)
            one = _Conversation(self, socket, inner, tunnel, target.path.split("/")[3])
            await one.run()
        return socket.ws

    @property
    def budget(self) -> Budget:
        """The purses."""
        return self._budget

    @property
    def reports(self) -> Reports:
        """The recorder."""
        return self._reports


class _Conversation:
    """One browser and one kernel."""

    def __init__(self, all_: Channels, socket: Socket, inner: aiohttp.ClientWebSocketResponse, tunnel: Tunnel, kernel: str) -> None:
        self._budget, self._reports = all_.budget, all_.reports
        self._socket, self._outer, self._inner = socket, socket.ws, inner
        self._tunnel, self._kernel = tunnel, kernel

    async def run(self) -> None:
        """Pass messages until either side is done."""
        pumps = [asyncio.create_task(self._inwards()), asyncio.create_task(self._outwards())]
        try:
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            error = next((pump.exception() for pump in done if pump.exception()), None)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        await self._finish(error)

    async def _finish(self, error: BaseException | None) -> None:
        match error:
            case None:
                await self._socket.close(self._socket.reason or "the kernel's socket was closed", 1000)
            case EgressBudgetError():
                self._reports.cut(self._tunnel.id, error.code, {"kernel": self._kernel})
                await self._socket.close("egress budget exceeded")
            case BrokerUnavailableError():
                await self._socket.close("the budget cannot be checked now", TRY_AGAIN)
            case SulkuError():
                await self._socket.close(error.code)
            case _:
                log.error("a kernel's socket failed", exc_info=error)
                await self._socket.close("failed", 1011)

    async def _inwards(self) -> None:
        async for frame in self._outer:
            try:
                message = _read(frame)
                messages.require_allowed(message, messages.TO_KERNEL)
                if message.type != "execute_request" or await self._recorded(message):
                    await self._inner.send_bytes(messages.write_v1(message))
            except NotAllowedError as error:
                self._refused(error.code, error)

    async def _recorded(self, message: Message) -> bool:
        """Whether the code of ``message`` is on disk and may run; if it may not, the cell is told why."""
        try:
            await self._record(message)
        except RecorderFullError as error:
            await self._answer(messages.refusal(message, "NotRecorded", f"{error}. {error.remedy()}"))
            return False
        return True

    async def _record(self, message: Message) -> None:
        code = message.content.get("code")
        if not isinstance(code, str):
            raise NotAllowedError("an execute_request without code")
        extra = message.content.get("user_expressions")
        more = extra.values() if isinstance(extra, dict) else ()
        text = code + "".join(f"\n# user expression\n{value}" for value in more)
        if len(text.encode("utf-8", "replace")) > LONGEST_CODE:
            raise RecorderFullError(f"a cell of more than {LONGEST_CODE} bytes cannot be recorded; put it into a file")
        await self._reports.executed(self._tunnel.id, text, self._kernel, str(message.header.get("msg_id", ""))[:100])

    async def _outwards(self) -> None:
        async for frame in self._inner:
            try:
                message = messages.read_v1(frame.data if frame.type is WSMsgType.BINARY else b"")
                messages.require_allowed(message, messages.FROM_KERNEL)
                await self._answer((messages.tamed(message),))
            except NotAllowedError as error:
                self._refused("message-dropped", error)

    def _refused(self, code: str, error: NotAllowedError) -> None:
        self._reports.refused(self._tunnel.id, code, "WEBSOCKET", f"/api/kernels/{self._kernel}/channels", str(error))

    async def _answer(self, out: tuple[Message, ...]) -> None:
        for message in out:
            frame = messages.write_v1(message) if self._outer.ws_protocol else messages.write_json(message)
            await self._budget.spend(self._tunnel, len(frame))
            if isinstance(frame, bytes):
                await self._outer.send_bytes(frame)
            else:
                await self._outer.send_str(frame)


def _read(frame: aiohttp.WSMessage) -> Message:
    if frame.type is WSMsgType.BINARY:
        return messages.read_v1(frame.data)
    if frame.type is WSMsgType.TEXT:
        return messages.read_json(frame.data)
    raise NotAllowedError("a frame that is not of the kernel protocol")
