"""Answers that JupyterLab needs and no workspace has to give: who I am, settings, layouts, kernels that there are.

Choices (a theme, a layout) are kept in memory for the time of the tunnel: what a browser stores comes back to it
without passing through the workspace, so it is neither egress nor something that a kernel can write.
"""

from __future__ import annotations

from typing import Any, Final

import orjson
from aiohttp import web

from broker.gateway import answers
from broker.gateway.allow import Target
from broker.gateway.assets import Assets
from broker.gateway.entry import Session
from broker.gateway.relay import body
from sulku.errors import InvalidInputError, NotFoundError

LARGEST_CHOICE: Final = 64 * 1024
LARGEST_CHOICES: Final = 512 * 1024  # bytes kept for one tunnel


class Local:
    """Answer from the trusted copy and from memory."""

    def __init__(self, assets: Assets) -> None:
        """Begin with no choices."""
        self._assets = assets
        self._choices: dict[str, dict[str, bytes]] = {}

    def forget(self, tunnel: str) -> None:
        """Drop the choices made in a tunnel that has ended."""
        self._choices.pop(tunnel, None)

    async def answer(self, request: web.BaseRequest, target: Target, session: Session) -> web.Response:
        """Answer a request that the table marks as local.

        Raises:
            InvalidInputError: A choice is too large or not JSON.
            NotFoundError: There is no such plugin.
        """
        path, method = target.path, request.method
        if path.startswith("/lab/api/settings/"):
            return await self._settings(request, path.removeprefix("/lab/api/settings/"), session)
        if path.startswith("/lab/api/workspaces/"):
            return await self._layout(request, path, session)
        if method == "GET" and path == "/lab/api/settings":
            return answers.json({"settings": self._all_settings(session, ids="ids_only=true" in target.rebuilt())})
        return answers.json(self._fixed(path, session))

    def _fixed(self, path: str, session: Session) -> dict[str, Any]:
        match path:
            case "/api/me":
                initials = "".join(word[0] for word in session.name.split()[:2]).upper()
                identity = {
                    "username": session.person, "name": session.name, "display_name": session.name,
                    "initials": initials, "avatar_url": None, "color": None,
                }  # fmt: skip
                return {"identity": identity, "permissions": {"updatable_fields": []}}
            case "/api/nbconvert":
                return {}  # the formats that a notebook can be exported to: none
            case "/api/kernelspecs":
                return self._assets.kernelspecs
            case "/lab/api/workspaces":
                return {"workspaces": {"ids": [], "values": []}}
            case "/lab/api/translations":
                return {"data": {"en": {"displayName": "English", "nativeName": "English"}}, "message": ""}
            case _:
                return {"data": {}, "message": ""}  # one language's catalogue: the words are JupyterLab's own

    def _all_settings(self, session: Session, *, ids: bool) -> list[dict[str, Any]]:
        if ids:
            return [{"id": plugin} for plugin in self._assets.settings]
        return [self._chosen(plugin, session) for plugin in self._assets.settings]

    def _chosen(self, plugin: str, session: Session) -> dict[str, Any]:
        known = self._assets.settings.get(plugin)
        if known is None:
            raise NotFoundError(f"there is no plugin {plugin[:80]!r}")
        raw = self._choices.get(session.tunnel, {}).get(plugin)
        return known | {"raw": raw.decode()} if raw else known

    async def _settings(self, request: web.BaseRequest, plugin: str, session: Session) -> web.Response:
        chosen = self._chosen(plugin, session)
        if request.method == "GET":
            return answers.json(chosen)
        raw = _object(await body(request, LARGEST_CHOICE)).get("raw")
        if not isinstance(raw, str):
            raise InvalidInputError("settings without raw")
        self._keep(session, plugin, raw.encode())
        return web.Response(status=204)

    async def _layout(self, request: web.BaseRequest, path: str, session: Session) -> web.Response:
        name = path.rsplit("/", 1)[1]
        if request.method == "PUT":
            layout = _object(await body(request, LARGEST_CHOICE))
            self._keep(session, path, orjson.dumps(layout.get("data", {})))
            return web.Response(status=204)
        if request.method == "DELETE":
            self._choices.get(session.tunnel, {}).pop(path, None)
            return web.Response(status=204)
        kept = self._choices.get(session.tunnel, {}).get(path, b"{}")
        return answers.json({"data": orjson.loads(kept), "metadata": {"id": name}})

    def _keep(self, session: Session, key: str, value: bytes) -> None:
        kept = self._choices.setdefault(session.tunnel, {})
        if sum(len(item) for name, item in kept.items() if name != key) + len(value) > LARGEST_CHOICES:
            raise InvalidInputError(f"more than {LARGEST_CHOICES} bytes of settings")
        kept[key] = value


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError("not JSON") from error
    if not isinstance(value, dict):
        raise InvalidInputError("not an object")
    return value
