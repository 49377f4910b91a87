"""Letting data into a tunnel: raise it empty, prove it closed, record that, record each mount, and only then mount."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from broker.flows import tunnels
from broker.flows.act import Intent, act
from sulku import ids, mounts
from sulku.clearance import Clearance
from sulku.errors import RuleError
from sulku.events import Happened
from sulku.mounts import Mount
from sulku.permits import Grant, Permit
from sulku.plan import Alive, WorkspacePlan
from sulku.ports import Facts, Ports, Vault, Workspaces
from sulku.tunnels import State, Tunnel

READY_TIMEOUT: Final = 45.0  # seconds for Jupyter to answer


def furnish(ports: Ports, workspaces: Workspaces, vault: Vault, plan: WorkspacePlan) -> str:
    """Bring up the workspace of a requested tunnel and return the address of its socket.

    May be repeated: it goes on where it was left, and a workspace that runs already is returned as it is.

    Raises:
        RuleError: The tunnel is over, or was not proved closed; it is ending.
        SulkuError: Anything else that stopped it; whether the tunnel ends of it is for its caller to say.
    """
    tunnel: Tunnel = ports.store.peek([plan.tunnel])[plan.tunnel]
    runs = isinstance(workspaces.status(plan.tunnel), Alive)
    if tunnel.state is State.OPEN and runs:
        return workspaces.wait_ready(plan.tunnel, READY_TIMEOUT)
    if not (tunnel.state is State.REQUESTED or (tunnel.state is State.PROVED and runs)):
        raise RuleError("tunnel-over", f"the tunnel is {tunnel.state}", "Open a new one from its permit.")
    report = workspaces.start(plan)  # one that runs gives the report of its own beginning
    if tunnel.state is State.REQUESTED:
        tunnels.prove(ports, plan.tunnel, report)
    permit: Permit = ports.store.peek([tunnel.permit])[tunnel.permit]
    grants = mounts.plan(permit.paper)
    volumes = [vault.materialise(grant) for grant in grants]
    attached = {mount.grant for mount in listing(ports, plan.tunnel)}
    for grant in grants:
        if grant not in attached:
            attach(ports, plan.tunnel, tunnel.permit, grant)
    workspaces.release(plan.tunnel, volumes)
    return workspaces.wait_ready(plan.tunnel, READY_TIMEOUT)


def attach(ports: Ports, tunnel: str, permit: str, grant: Grant) -> Mount:
    """Record that ``grant`` becomes readable in ``tunnel``; the mount itself follows the record.

    Raises:
        RuleError: The closure is not proved, or the permit does not grant exactly this.
    """
    target = ids.new("mnt")
    about = {"tunnel": tunnel, "permit": permit, "dataset": grant.dataset}

    def decide(facts: Facts, _: Clearance, at: datetime) -> Sequence[Happened]:
        return [mounts.attach(target, facts[tunnel], grant, facts[permit].paper, at)]

    receipt = act(ports, Intent(tunnels.WORKER, "mount.attach", target, grant, about), decide)
    return receipt.facts[target]  # type: ignore[no-any-return]


def listing(ports: Ports, tunnel: str) -> list[Mount]:
    """Return what was ever mounted in ``tunnel``; for whoever may see the tunnel."""
    return ports.store.find("mnt", tunnel=tunnel)
