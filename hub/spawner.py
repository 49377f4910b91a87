"""The spawner asks the broker: it starts no process, holds no key, and returns once the workspace answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from jupyterhub.spawner import Spawner, SpawnException

from hub.neighbours import ask
from sulku import ids, links
from sulku.errors import BrokerUnavailableError, InvalidInputError, RelayedRefusalError
from sulku.links import BROKER


class BrokerSpawner(Spawner):  # type: ignore[misc]  # JupyterHub has no types
    """Start, watch and stop the tunnel that the server's name says."""

    @property
    def server(self) -> Any:
        """The workspace as the hub knows it: the broker has seen it answer, and the hub, which may have no way to it, does not look."""
        found = super().server
        if found is not None:
            found.wait_up = _seen
        return found

    @server.setter
    def server(self, server: Any) -> None:
        """Keep it as usual."""
        Spawner.server.fset(self, server)

    async def start(self) -> str:
        """Return the address of the workspace once it answers.

        Raises:
            SpawnException: The name is no tunnel's, the broker said no, or it does not answer.
        """
        try:
            answer = await self._ask("POST", "/start", patience=65.0)
        except RelayedRefusalError as error:
            raise SpawnException(f"{error.code}: {error}", reason="policy", status_code=error.status) from error
        except BrokerUnavailableError as error:
            raise SpawnException(f"the broker does not answer: {error}", reason="error", status_code=503) from error
        try:
            return _url(str(answer.get("url", "")))
        except InvalidInputError as error:
            raise SpawnException(str(error), reason="error", status_code=503) from error

    async def poll(self) -> int | None:
        """Return None while the tunnel runs. A broker that is away says nothing about it, so that counts as running."""
        try:
            answer = await self._ask("GET", "")
        except BrokerUnavailableError:
            return None
        except RelayedRefusalError as error:
            return 0 if error.status in {404, 410} else None
        return None if answer.get("running") else 0

    async def stop(self, now: bool = False) -> None:  # noqa: ARG002, FBT002 JupyterHub calls it so
        """Have the broker end the tunnel. If it is away the tunnel's other clocks end it."""
        try:
            await self._ask("POST", "/stop")
        except (BrokerUnavailableError, RelayedRefusalError) as error:
            self.log.warning("the broker did not stop %s: %s", self.name, error)

    async def _ask(self, method: str, path: str, *, patience: float = 10.0) -> dict[str, Any]:
        try:
            tunnel = ids.from_label(self.name)
        except InvalidInputError as error:
            raise SpawnException(str(error), reason="policy", status_code=404) from error
        return await ask(BROKER, method, f"/internal/hub/tunnels/{tunnel}{path}", patience=patience)


async def _seen(*_: object, **__: object) -> SimpleNamespace:
    """Answer as a workspace would that JupyterHub looks at."""
    return SimpleNamespace(headers={})


def _url(text: str) -> str:
    """Return the address of a workspace as JupyterHub takes it.

    Raises:
        InvalidInputError: It is none, or one that JupyterHub would mangle.
    """
    if not text.startswith("http+unix://"):
        return links.workspace(text).url
    if text != text.replace("%2F", "%2f").lower().replace("%2f", "%2F"):
        raise InvalidInputError("JupyterHub needs a lower-case socket path")
    return text
