"""The gateway put together: which host, which tunnel, who, what — in this order, on every request."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from broker.gateway import allow, answers, clock, framing, relay, shell, websocket
from broker.gateway.allow import Kind, Target
from broker.gateway.assets import Assets
from broker.gateway.budget import Budget
from broker.gateway.control import Routes
from broker.gateway.entry import Entry, Session
from broker.gateway.local import Local
from broker.gateway.messages import V1
from broker.gateway.outbox import Outbox
from broker.gateway.reach import Reach
from broker.gateway.record import MOVED, Record, Tunnel
from broker.gateway.relay import Workspaces
from broker.gateway.reports import Reports
from broker.gateway.settings import Settings, secret
from broker.gateway.sockets import Sockets
from broker.gateway.upstream import Broker
from broker.gateway.websocket import Channels, Socket
from sulku import ids, links
from sulku.crypto import channels
from sulku.errors import (
    FaultError,
    InvalidInputError,
    NotAllowedError,
    NotEnteredError,
    NotFoundError,
    PathRefusedError,
    RequestRefusedError,
    SulkuError,
)
from sulku.links import BROKER, GATEWAY

UPGRADES: Final = frozenset({Kind.EVENTS, Kind.CHANNELS})
SAFE: Final = frozenset({"GET", "HEAD"})
log = logging.getLogger("sulku.gateway")


class Gateway:
    """Everything that one gateway process holds."""

    def __init__(self, settings: Settings) -> None:
        """Read tokens and the trusted copy.

        Raises:
            ConfigurationError: A token file, a certificate that a link needs, or JupyterLab is missing.
        """
        self.settings = settings
        broker = links.address(settings.broker_address)
        channel = None if broker.path else channels.calling(settings.files, GATEWAY, BROKER)
        self.broker = Broker(broker, secret(settings.broker_token_file), channel)
        pods = links.networks(settings.workspace_networks)
        self.record = Record(self.broker, self._gone)
        self.sockets, self.workspaces, self.routes = Sockets(), Workspaces(self.record, pods), Routes()
        self._reach = Reach(pods)
        self.reports = Reports(self.broker, Path(settings.state_dir))
        self.budget = Budget(self.broker, settings.slice_bytes, self._exhausted)
        self.entry = Entry(settings, self.broker, self.record)
        self.assets = Assets(Path(settings.lab_prefix))
        self.local = Local(self.assets)
        self.channels = Channels(self.workspaces, self.budget, self.reports)
        self.outbox = Outbox(self.record, self.broker, self.workspaces)
        self.counts: Counter[str] = Counter()
        self.draining = False  # whether it is about to end: what is open goes on, and each connection after its answer
        self._closing: set[asyncio.Task[int]] = set()
        self._policy = answers.tunnel_policy(settings)

    # --- endings ------------------------------------------------------------------------------------------------------

    def _gone(self, tunnel: str, reason: str) -> None:
        """Close what is open in a tunnel that ended, or whose epoch or workspace is another now."""
        task = asyncio.create_task(self._end(tunnel, reason))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _end(self, tunnel: str, reason: str) -> int:
        now = self.record.known(tunnel) if reason == MOVED else None
        self.entry.forget(tunnel, now)
        self.outbox.forget(tunnel, now)
        if now is None:
            self.budget.forget(tunnel)
            self.local.forget(tunnel)
        closed = await self.sockets.cut(tunnel, reason)
        await self.workspaces.forget(tunnel, now)
        self.counts["cut"] += closed
        if closed:
            self.reports.cut(tunnel, "sockets-cut", {"reason": reason, "sockets": closed})
        return closed

    async def cut(self, tunnel: str, reason: str) -> int:
        """Close every socket of ``tunnel`` now and forget it until the record says otherwise; return how many."""
        closed = self.sockets.count(tunnel)
        self.record.forget(tunnel, reason)
        await asyncio.gather(*self._closing)
        return closed

    async def reached(self, asked: dict[str, Any]) -> bytes:
        """Return the line that a pod answers to the worker's; see ``Reach.ask``."""
        try:
            answer = await self._reach.ask(asked)
        except SulkuError as error:
            self.counts[f"reach_{error.code}"] += 1
            raise
        self.counts["reach_answered"] += 1
        return answer

    def _exhausted(self, tunnel: Tunnel) -> None:
        self.reports.refused(tunnel.id, "egress-budget", "", "", "egress budget exceeded")

    # --- requests -----------------------------------------------------------------------------------------------------

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer any request to the public port."""
        policy = self._policy
        tunnel = ""
        try:
            framing.require_plain(request)
            label = self._label(request)
            if label == "gate":
                response: web.StreamResponse = self._gate(request)
                path = request.raw_path.partition("?")[0]
                policy = answers.shell_policy(self.settings, path.strip("/") if path.startswith("/t-") else "")
            else:
                tunnel = ids.from_label(label)
                response = await self._tunnel(request, tunnel)
        except SulkuError as error:
            self.counts[f"refused_{error.code}"] += 1
            response = answers.refusal(error, self.settings, html=_wants_page(request), tunnel=tunnel)
            if isinstance(error, RequestRefusedError):
                framing.hang_up(request, response)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("a request failed")
            response = answers.refusal(FaultError("this failed"), self.settings, html=_wants_page(request))
        if not response.prepared:
            answers.seal(response, policy)
            if self.draining:
                response.force_close()
            if request.raw_path == "/.sulku/status":
                answers.show_to_shell(response, self.settings)
        self.counts["requests"] += 1
        return response

    def unreadable(self, error: SulkuError) -> web.Response:
        """Answer what is no request at all."""
        self.counts[f"refused_{error.code}"] += 1
        response = answers.refusal(error, self.settings, html=False)
        answers.seal(response, self._policy)
        return response

    def _label(self, request: web.BaseRequest) -> str:
        hosts = request.headers.getall("Host", ())
        label, dot, domain = hosts[0].partition(".") if len(hosts) == 1 else ("", "", "")
        if not dot or domain != self.settings.domain:
            raise NotFoundError("there is nothing at this address")
        try:
            return label if label == "gate" else ids.label(ids.from_label(label))
        except InvalidInputError as error:
            raise NotFoundError("there is nothing at this address") from error

    def _gate(self, request: web.BaseRequest) -> web.Response:
        if request.method not in SAFE:
            raise NotAllowedError(f"{request.method} is not on the allow-list")
        path = request.raw_path.partition("?")[0]
        if path.startswith("/.sulku/static/"):
            return shell.static(path)
        return shell.page(self.settings, shell.label_of(path))

    async def _tunnel(self, request: web.BaseRequest, identifier: str) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        if request.method == "GET" and path.startswith("/.sulku/static/"):
            return shell.static(path)
        socket = Socket(request, protocols=_protocols(request))
        with self.sockets.hold(identifier, socket.close):  # before the record is asked: a cut in between is not missed
            tunnel = await self.record.tunnel(identifier)
            if request.method == "GET" and path == "/.sulku/enter":
                return await self._enter(request, tunnel, query)
            try:
                tunnel = await self.entry.current(request, tunnel)
                session = self._require_inside(request, tunnel)
                socket.judged = True
                if path == "/.sulku/status":
                    return await self._status(tunnel)
                if path == "/.sulku/leave" and request.method == "GET":
                    return self._leave(request, tunnel)
                target = allow.decide(request.method, request.raw_path)
                return await self._answer(request, tunnel, session, target, socket)
            except (NotAllowedError, PathRefusedError) as error:
                self.reports.refused(tunnel.id, error.code, request.method, request.raw_path, str(error))
                raise
            except NotEnteredError as error:
                if request.headers.getall("Cookie", ()):
                    self.reports.refused(tunnel.id, error.code, request.method, path, str(error))
                raise

    async def _enter(self, request: web.BaseRequest, tunnel: Tunnel, query: str) -> web.Response:
        key, _, ticket = query.partition("=")
        if not query:
            return self.entry.begin(tunnel.id)
        try:
            return await self.entry.redeem(request, tunnel, ticket if key == "ticket" else "")
        except SulkuError as error:
            if not isinstance(error, FaultError):
                self.reports.refused(tunnel.id, error.code, "GET", "/.sulku/enter", str(error))
            raise

    def _require_inside(self, request: web.BaseRequest, tunnel: Tunnel) -> Session:
        """Check who asks, and from where.

        Raises:
            NotEnteredError: No session of this tunnel.
            NotAllowedError: A page of another origin, or a service worker, asks.
        """
        session = self.entry.session(request, tunnel)
        if "Service-Worker" in request.headers:
            raise NotAllowedError("service workers are not allowed")
        origin = request.headers.get("Origin")
        status = request.raw_path == "/.sulku/status"
        own = self.settings.gate_origin if status else self.settings.origin(tunnel.host)
        upgrade = "Upgrade" in request.headers
        if origin is not None and origin != own and (status or upgrade or request.method not in SAFE):
            raise NotAllowedError("a page of another origin asked")
        return session

    async def _status(self, tunnel: Tunnel) -> web.Response:
        await self.budget.look(tunnel)
        left, total = self.budget.left(tunnel)
        state = {
            "permit_title": tunnel.permit_title,
            "seconds_left": max(0, int(tunnel.ends - clock.boot())),
            "bytes_left": left,
            "bytes_total": total,
        }
        return answers.json(state)

    def _leave(self, request: web.BaseRequest, tunnel: Tunnel) -> web.Response:
        self.entry.leave(request)
        response = shell.left(self.settings, tunnel.id)
        response.del_cookie(self.entry.cookie, path="/")
        return response

    async def _answer(
        self, request: web.BaseRequest, tunnel: Tunnel, session: Session, target: Target, socket: Socket
    ) -> web.StreamResponse:
        if "Upgrade" in request.headers and target.rule.kind not in UPGRADES:
            raise NotAllowedError("no websocket is answered at this address")
        match target.rule.kind:
            case Kind.PAGE:
                return self._page(request, tunnel, target)
            case Kind.ASSET:
                return self._asset(target)
            case Kind.LOCAL:
                return await self.local.answer(request, target, session)
            case Kind.EVENTS:
                _require_upgrade(request)
                return await websocket.events(socket, request)
            case Kind.CHANNELS:
                _require_upgrade(request)
                return await self.channels.join(socket, request, tunnel, target)
            case Kind.CONTENTS | Kind.RELAY:
                return await relay.relay(request, tunnel, target, self.workspaces, self.budget)

    def _page(self, request: web.BaseRequest, tunnel: Tunnel, target: Target) -> web.Response:
        if request.headers.get("Sec-Fetch-Dest", "iframe") != "iframe":  # only the shell's frame cannot navigate away
            return web.Response(status=303, headers={"Location": f"{self.settings.gate_origin}/{tunnel.host}/"})
        return web.Response(text=self.assets.page(target.path), content_type="text/html")

    def _asset(self, target: Target) -> web.StreamResponse:
        asset = self.assets.find(target.path)
        if asset is None:
            raise NotFoundError("there is no such file")
        response = web.FileResponse(asset.file, headers={"Content-Type": asset.type})
        response.headers["Cache-Control"] = "private, max-age=3600"
        return response

    # --- what is shown to operators -----------------------------------------------------------------------------------

    def health(self) -> dict[str, Any]:
        """Return how many tunnels are open, how old the record is, in seconds, and whether this gateway is about to end."""
        return {"tunnels": len(self.record.open()), "snapshot_age": round(min(self.record.age, 1e6), 3), "draining": self.draining}

    def metrics(self) -> str:
        """Return the metrics in Prometheus' text format."""
        values: dict[str, float] = {
            "sulku_gateway_tunnels": len(self.record.open()),
            "sulku_gateway_sockets": self.sockets.count(),
            "sulku_gateway_snapshot_age_seconds": round(min(self.record.age, 1e6), 3),
            "sulku_gateway_reports_pending": self.reports.pending,
            "sulku_gateway_reports_rejected_total": self.reports.rejected,
            "sulku_gateway_requests_total": self.counts["requests"],
            "sulku_gateway_sockets_cut_total": self.counts["cut"],
        }
        lines = [f"{name} {value}" for name, value in values.items()]
        for name, count in sorted(self.counts.items()):
            if name.startswith("refused_"):
                lines.append(f'sulku_gateway_refusals_total{{code="{name.removeprefix("refused_")}"}} {count}')
            if name.startswith("reach_"):
                lines.append(f'sulku_gateway_reaches_total{{how="{name.removeprefix("reach_")}"}} {count}')
        return "\n".join(lines) + "\n"


def _wants_page(request: web.BaseRequest) -> bool:
    return request.method in SAFE and "text/html" in request.headers.get("Accept", "")


def _protocols(request: web.BaseRequest) -> tuple[str, ...]:
    return (V1,) if V1 in request.headers.get("Sec-WebSocket-Protocol", "") else ()


def _require_upgrade(request: web.BaseRequest) -> None:
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise InvalidInputError("this address answers websockets only")
