"""A proxy for the plain hubs that ours is compared with: their best case. Imported by a hub, also by one in a venv of its own."""

from __future__ import annotations

from typing import Any, ClassVar

from jupyterhub.proxy import Proxy


class NoProxy(Proxy):  # type: ignore[misc]  # JupyterHub has no types
    """It costs nothing: it remembers routes in the hub's own process."""

    should_start = False
    routes: ClassVar[dict[str, dict[str, Any]]] = {}

    async def add_route(self, routespec: str, target: str, data: dict[str, Any]) -> None:
        """Remember it."""
        self.routes[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec: str) -> None:
        """Forget it."""
        self.routes.pop(routespec, None)

    async def get_all_routes(self) -> dict[str, dict[str, Any]]:
        """Return them."""
        return dict(self.routes)
