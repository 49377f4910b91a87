"""Who raises workspaces, as gateway and hub see it: this process on this machine, or the worker on a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from broker.adapters import homes
from broker.adapters.kubernetes import Cluster
from broker.flows import mounts, tunnels
from broker.web.api.internal import Desk
from broker.wiring import Wired
from sulku.errors import RuleError, SulkuError
from sulku.plan import UID, Alive
from sulku.ports import Workspaces
from sulku.tunnels import LIVE, Cause, State, Tunnel


class _Desk:
    """What both sizes have in common."""

    def __init__(self, wired: Wired) -> None:
        """Use the parts of ``wired``."""
        self._wired = wired

    def token(self, tunnel: str) -> str:
        """Return the token that a workspace takes."""
        return self._wired.workspace_token(tunnel)


class Here(_Desk):
    """Workspaces in sandboxes of this machine; the hub's order to start one raises it."""

    def start(self, tunnel: str) -> str:
        """Bring the workspace of a requested tunnel up and return the path of its socket; returns when it answers.

        Raises:
            SulkuError: What stopped it. The tunnel is ending and says so: the hub destroys a workspace that it could not start.
        """
        wired = self._wired
        known: Tunnel = wired.store.peek([tunnel])[tunnel]
        try:
            return mounts.furnish(wired.ports, wired.sandbox, wired.vault, wired.plan(known))
        except SulkuError:
            if known.state is not State.OPEN:
                tunnels.finish(wired.ports, tunnel, Cause.FAILED, tunnels.WORKER)
            raise

    def stop(self, tunnel: str) -> None:
        """Destroy the workspace of ``tunnel``; may be repeated."""
        if self._wired.sandbox.status(tunnel) is not None:
            self._wired.sandbox.stop(tunnel)

    def running(self, tunnel: str) -> bool:
        """Return whether the workspace of ``tunnel`` runs."""
        return isinstance(self._wired.sandbox.status(tunnel), Alive)

    def addresses(self, tunnels: Iterable[Tunnel]) -> Mapping[str, str]:
        """Return tunnel → the path of its workspace's socket."""
        return {one.id: str(self._wired.sandbox.socket_path(one.id)) for one in tunnels}


class Elsewhere(_Desk):
    """Workspaces that the worker has raised before it asks the hub; here it is only known where they are."""

    def start(self, tunnel: str) -> str:
        """Return the address of a workspace that is up.

        Raises:
            RuleError: It is not, or its tunnel is over.
        """
        if not self.running(tunnel):
            raise RuleError("tunnel-over", "the workspace of this tunnel does not run", "Open a new one from its permit.")
        return self._wired.store.places.of([tunnel])[tunnel]

    def stop(self, tunnel: str) -> None:
        """Do nothing: the worker ends what its record says is over, and it is the worker that has the hub stop."""

    def running(self, tunnel: str) -> bool:
        """Return whether the record says that the workspace of ``tunnel`` runs."""
        known: Tunnel = self._wired.store.peek([tunnel])[tunnel]
        return known.state in LIVE and tunnel in self._wired.store.places.of([tunnel])

    def addresses(self, tunnels: Iterable[Tunnel]) -> Mapping[str, str]:
        """Return tunnel → ``http://IP:PORT`` of those that are up."""
        return self._wired.store.places.of([one.id for one in tunnels])


def desk(wired: Wired) -> Desk:
    """Return what the internal API asks."""
    return Here(wired) if wired.settings.workspaces == "sandbox" else Elsewhere(wired)


def hands(wired: Wired) -> Workspaces | None:
    """Return what this process ends workspaces with; ``None`` if it is another's to do."""
    return wired.sandbox if wired.settings.workspaces == "sandbox" else wired.cluster


def furnish(wired: Wired, cluster: Cluster, tunnel: str) -> None:
    """Bring the workspace of a requested tunnel up on the cluster and keep where it is; may be repeated.

    Raises:
        SulkuError: What stopped it.
    """
    plan = wired.plan(wired.store.peek([tunnel])[tunnel])
    homes.folder(Path(plan.home), UID)
    address = mounts.furnish(wired.ports, cluster, wired.vault, plan)
    wired.store.places.put(tunnel, address, wired.ports.clock.now())
