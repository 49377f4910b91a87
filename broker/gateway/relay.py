"""Requests that the workspace answers: written anew on the way in, read and re-written as JSON on the way out."""

from __future__ import annotations

from typing import Any, Final

import aiohttp
import orjson
from aiohttp import web
from yarl import URL

from broker.gateway import messages
from broker.gateway.allow import Kind, Target
from broker.gateway.budget import Budget
from broker.gateway.record import Record, Tunnel
from sulku import links
from sulku.errors import InvalidInputError, NotAllowedError, NotAPodError, WorkspaceUnavailableError
from sulku.links import Address, Network
from sulku.manifests import WORKSPACE_PORT

LARGEST_REQUEST: Final = 32 * 1024 * 1024
LARGEST_ANSWER: Final = 32 * 1024 * 1024
LARGEST_TEXT: Final = 256 * 1024  # bytes of a text file that may be opened in the editor
TEXT_ENDINGS: Final = (".py", ".md", ".txt", ".csv", ".tsv", ".json", ".sql", ".r", ".R", ".toml", ".yaml", ".yml")
STATUSES: Final = frozenset({200, 201, 204, 400, 403, 404, 409, 410, 413, 500, 503})
PATIENCE: Final = aiohttp.ClientTimeout(total=60, sock_connect=2)
JSON_HEADERS: Final = {"Host": "localhost", "Accept": "application/json", "Accept-Encoding": "identity"}


class OnlyTo(aiohttp.TCPConnector):
    """Connects to one workspace and to nothing else, wherever it tries to send us: a websocket's client follows redirects."""

    def __init__(self, address: Address) -> None:
        """Connect to ``address`` alone."""
        super().__init__(limit=64, use_dns_cache=False)
        self._to = URL(address.url)

    async def connect(self, req: aiohttp.ClientRequest, *rest: Any, **more: Any) -> Any:
        """Return a connection.

        Raises:
            InvalidUrlClientError: The workspace answered that we should go elsewhere.
        """
        if req.url.origin() != self._to:
            raise aiohttp.InvalidUrlClientError(req.url.origin(), "not the workspace")
        return await super().connect(req, *rest, **more)


class Workspaces:
    """One client for each workspace, made when first needed.

    A client is good for one tunnel, epoch, address and token. The token is shown where the record says *now* that the
    workspace is: each use asks, however old what the caller holds may be.
    """

    def __init__(self, record: Record, networks: tuple[Network, ...] = ()) -> None:
        """Begin with none; by TCP connect within ``networks`` alone, if there are any."""
        self._sessions: dict[str, dict[tuple[int, str, str], tuple[aiohttp.ClientSession, str]]] = {}
        self._record, self._networks = record, networks

    async def reach(self, tunnel: Tunnel) -> tuple[aiohttp.ClientSession, str]:
        """Return the client of ``tunnel`` and the origin that its requests begin with.

        It keeps no cookies, asks no proxy, and reaches that workspace alone.

        Raises:
            WorkspaceUnavailableError: It is elsewhere now, or the record's address of it is none that is allowed.
            BrokerUnavailableError: The record is too old to tell.
            TunnelEndedError: It has ended.
        """
        now = await self._record.tunnel(tunnel.id)
        if now.place != tunnel.place:
            raise WorkspaceUnavailableError("the workspace is elsewhere now")
        sessions = self._sessions.setdefault(tunnel.id, {})
        if tunnel.place not in sessions:
            try:
                address = links.workspace(tunnel.address)
                if self._networks and not address.path:
                    links.pod(tunnel.address, self._networks, {WORKSPACE_PORT})
            except (InvalidInputError, NotAPodError) as error:
                raise WorkspaceUnavailableError(str(error)) from None
            connector = aiohttp.UnixConnector(path=address.path, limit=64) if address.path else OnlyTo(address)
            session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
            sessions[tunnel.place] = session, address.url
        return sessions[tunnel.place]

    async def forget(self, tunnel: str, now: Tunnel | None = None) -> None:
        """Close the clients of a tunnel that has ended; if it goes on as ``now``, those for what it was before."""
        sessions = self._sessions.pop(tunnel, {})
        if now and now.place in sessions:
            self._sessions[tunnel] = {now.place: sessions.pop(now.place)}
        for session, _ in sessions.values():
            await session.close()

    async def close(self) -> None:
        """Close all clients."""
        for tunnel in list(self._sessions):
            await self.forget(tunnel)

    async def ask(self, tunnel: Tunnel, method: str, target: str, body: bytes = b"", most: int = LARGEST_ANSWER) -> tuple[int, Any]:
        """Return (status, JSON value or None) of one request to the workspace.

        Raises:
            WorkspaceUnavailableError: It does not answer, answers more than ``most`` bytes, or not in JSON.
        """
        headers = {**JSON_HEADERS, "Authorization": f"token {tunnel.token}"}
        if body:
            headers["Content-Type"] = "application/json"
        session, origin = await self.reach(tunnel)
        try:
            async with session.request(
                method, URL(f"{origin}{target}", encoded=True), data=body or None, headers=headers, timeout=PATIENCE,
                allow_redirects=False,
            ) as answer:  # fmt: skip
                data = await _read(answer.content, most)
                status = answer.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise WorkspaceUnavailableError(f"the workspace does not answer: {type(error).__name__}") from error
        if status not in STATUSES:
            raise WorkspaceUnavailableError(f"the workspace answered {status}")
        try:
            return status, orjson.loads(data) if data else None
        except orjson.JSONDecodeError as error:
            if status >= 400:
                return status, None
            raise WorkspaceUnavailableError("the workspace's answer is not JSON") from error


async def _read(stream: aiohttp.StreamReader, most: int) -> bytes:
    data = bytearray()
    async for chunk in stream.iter_any():
        data += chunk
        if len(data) > most:
            raise WorkspaceUnavailableError(f"the workspace's answer is larger than {most} bytes")
    return bytes(data)


async def body(request: web.BaseRequest, most: int = LARGEST_REQUEST) -> bytes:
    """Return the body of ``request``.

    Raises:
        InvalidInputError: It is larger than ``most`` bytes.
    """
    data = bytearray()
    async for chunk in request.content.iter_any():
        data += chunk
        if len(data) > most:
            raise InvalidInputError(f"more than {most} bytes")
    return bytes(data)


async def relay(request: web.BaseRequest, tunnel: Tunnel, target: Target, workspaces: Workspaces, budget: Budget) -> web.Response:
    """Answer ``request`` from the workspace; its own headers stay outside and the workspace's stay inside.

    Raises:
        NotAllowedError: The request or the answer would carry a file out.
        EgressBudgetError: The budget does not cover the answer.
        WorkspaceUnavailableError: No answer that may be passed on.
        BrokerUnavailableError: The budget cannot be asked for.
    """
    contents = target.rule.kind is Kind.CONTENTS
    if contents and request.method == "GET":
        require_readable(target)
    data = await body(request)
    if contents and request.method == "PUT":
        _require_savable(data)
    await budget.spend(tunnel, 0)  # nothing is changed inside when not even the answer could be shown
    status, value = await workspaces.ask(tunnel, request.method, target.rebuilt(), data)
    if status >= 400:
        said = value.get("message") if isinstance(value, dict) else None
        value = {"message": str(said or "the workspace refused")[:300], "reason": None}
    elif contents:
        value = _readable(value, target)
    if value is None:
        return web.Response(status=status)
    out = orjson.dumps(value)
    await budget.spend(tunnel, len(out))
    return web.Response(body=out, status=status, content_type="application/json")


def require_readable(target: Target) -> None:
    """Check that a GET of the contents API asks for a listing, a notebook, or a small text file.

    Raises:
        NotAllowedError: It asks for something else.
    """
    query = dict(target.query)
    if query.get("content", "1") == "0":
        return
    kind, form = query.get("type"), query.get("format")
    listing = kind == "directory" or (kind is None and target.path == "/api/contents")
    notebook = kind == "notebook" and target.name.endswith(".ipynb") and form in {None, "json"}
    text = kind == "file" and target.name.endswith(TEXT_ENDINGS) and form == "text"
    if not (listing or notebook or text):
        raise NotAllowedError("only folders, notebooks and small text files can be opened; files are not downloaded")


def _require_savable(data: bytes) -> None:
    try:
        model = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError("not JSON") from error
    if not isinstance(model, dict) or model.get("format") == "base64" or "chunk" in model:
        raise NotAllowedError("files are not uploaded here; ask the steward to bring them in as a dataset")


MODEL_KEYS: Final = frozenset(
    {"name", "path", "type", "format", "mimetype", "content", "writable", "created", "last_modified", "size", "hash"}
    | {"hash_algorithm", "message"}
)


def _readable(value: Any, target: Target) -> Any:
    """Return a contents model as it may leave: of the kind that was asked for, whatever the workspace says."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise WorkspaceUnavailableError("the workspace's answer is not a contents model")
    model = {key: item for key, item in value.items() if key in MODEL_KEYS}
    content = model.get("content")
    match model.get("type"), content:
        case _, None:
            pass
        case "directory", list():
            model["content"] = [_entry(item) for item in content]
        case "notebook", dict():
            model["content"] = _tamed_notebook(content)
        case "file", str() if model.get("format") == "text" and target.name.endswith(TEXT_ENDINGS):
            if len(content.encode("utf-8", "replace")) > LARGEST_TEXT:
                raise NotAllowedError(f"text files of more than {LARGEST_TEXT} bytes are not opened here")
        case _:
            raise NotAllowedError("the workspace answered with a file; files are not downloaded")
    return model


def _entry(item: Any) -> dict[str, Any]:
    if not isinstance(item, dict) or item.get("content") is not None:
        raise WorkspaceUnavailableError("the workspace's listing is not a listing")
    return {key: value for key, value in item.items() if key in MODEL_KEYS}


def _tamed_notebook(notebook: dict[str, Any]) -> dict[str, Any]:
    tamed: dict[str, Any] = messages.tame_bundles(notebook)
    cells = tamed.get("cells")
    for cell in cells if isinstance(cells, list) else ():
        if isinstance(cell, dict) and cell.get("cell_type") == "markdown":
            cell["source"] = messages.tame(cell.get("source", ""))
    return tamed
