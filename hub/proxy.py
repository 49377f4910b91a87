"""The gateway as JupyterHub's proxy: routes are hints that it keeps; only the broker's record opens a tunnel."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from jupyterhub.proxy import Proxy

from hub.neighbours import ask
from sulku.errors import BrokerUnavailableError
from sulku.links import GATEWAY


class GatewayProxy(Proxy):  # type: ignore[misc]  # JupyterHub has no types
    """Write the hub's routes to the gateway's control.

    Raises:
        BrokerUnavailableError: The gateway does not answer; the hub tries again by itself.
    """

    async def add_route(self, routespec: str, target: str, data: dict[str, Any]) -> None:
        """Tell the gateway what the hub would route; never the way to the hub itself."""
        if routespec != "/":
            route = {"routespec": routespec, "target": without_port(target), "data": data}
            await self._ask("PUT", "", route)

    async def delete_route(self, routespec: str) -> None:
        """Tell the gateway that the hub routes this no longer. One that is away has forgotten all its routes already."""
        try:
            await self._ask("DELETE", f"?routespec={quote(routespec, safe='')}")
        except BrokerUnavailableError as error:
            self.log.warning("the gateway is away and holds no route: %s", error)

    async def get_all_routes(self) -> dict[str, dict[str, Any]]:
        """Return the routes that the gateway keeps, as the hub expects to find them."""
        routes = (await self._ask("GET", ""))["routes"]
        found = {route["routespec"]: route | {"target": with_port(route["target"])} for route in routes}
        found["/"] = {"routespec": "/", "target": self.hub.host, "data": {"hub": True}}
        return found

    async def _ask(self, method: str, query: str, body: object = None) -> dict[str, Any]:
        return await ask(GATEWAY, method, f"/control/routes{query}", body)


def without_port(target: str) -> str:
    """Return ``target`` as a socket can be reached: JupyterHub 6.1 puts ``:80`` behind the path of a unix socket."""
    return target.removesuffix(":80") if target.startswith("http+unix://") else target


def with_port(target: str) -> str:
    """Return ``target`` as JupyterHub remembers it; the inverse of ``without_port``."""
    return f"{target}:80" if target.startswith("http+unix://") else target
