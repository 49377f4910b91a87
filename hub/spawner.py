"""The spawner asks the broker: it starts no process, holds no key, and returns once the workspace answers."""

from __future__ import annotations

from typing import Any

from jupyterhub.spawner import Spawner, SpawnException
from traitlets import Unicode

from hub.neighbours import ask
from sulku import ids
from sulku.errors import BrokerUnavailableError, InvalidInputError, RelayedRefusalError


class BrokerSpawner(Spawner):  # type: ignore[misc]  # JupyterHub has no types
    """Start, watch and stop the tunnel that the server's name says."""

    broker_socket = Unicode(config=True, help="The broker's internal socket.")
    broker_token_file = Unicode(config=True, help="File with the token for it.")

    async def start(self) -> str:
        """Return the address of the workspace once its socket answers.

        Raises:
            SpawnException: The name is no tunnel's, the broker said no, or it does not answer.
        """
        try:
            answer = await self._ask("POST", "/start", patience=65.0)
        except RelayedRefusalError as error:
            raise SpawnException(f"{error.code}: {error}", reason="policy", status_code=error.status) from error
        except BrokerUnavailableError as error:
            raise SpawnException(f"the broker does not answer: {error}", reason="error", status_code=503) from error
        url = str(answer.get("url", ""))
        if not url.startswith("http+unix://") or url != url.replace("%2F", "%2f").lower().replace("%2f", "%2F"):
            raise SpawnException("JupyterHub needs a lower-case socket path", reason="error", status_code=503)
        return url

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
        return await ask(self.broker_socket, self.broker_token_file, method, f"/internal/hub/tunnels/{tunnel}{path}", patience=patience)
