"""Would a tunnel on this cluster be safe? What is attacked, what to do about it, and a verdict that needs a control."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sulku.codec import Plain, plain

__all__ = ["CHECKS", "Check", "Finding", "Seen", "Verdict", "finding", "safe", "weigh"]

Seen = Mapping[str, tuple[bool, str]]  # one round of a pod: target → whether it was reached, and how that went


class Verdict(StrEnum):
    """What came of an attack. ``unknown``: it failed, and so did its control, or it could not be tried."""

    OK = "ok"
    NO = "not ok"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the examination.

    Attributes:
        name: Stable, for scripts.
        attack: What is tried.
        remedy: What to do when it is not ok.
        certain: Not to know counts as a no.
    """

    name: str
    attack: str
    remedy: str
    certain: bool = True


_POLICY: Final = (
    "Use a network plug-in that enforces NetworkPolicy for egress and ingress (Calico, Cilium, kube-router), see that its controller "
    "runs on every node, and that no other policy allows this."
)
_PINGS: Final = "Policies do not know pings: a tunnel's own programs close them. Use a workspace image of this version, and its manifests."
_ADMISSION: Final = "See that the API server runs the admission plug-in and that nothing takes the labels of a tunnel's namespace away."
_GUARDS: Final = "Install the guards of the chart (ValidatingAdmissionPolicies with their bindings, action Deny) and leave them on."
_NODE: Final = "Look at the events of the pod and at the kubelet's log; each node that runs tunnels must be able to."

CHECKS: Final = {
    one.name: one
    for one in (
        Check("api-server", "ask for its version", "Use Kubernetes 1.30 or newer (guards of admission, containers beside the pod's own)."),
        Check("clock-server", "compare its clock with ours", "Keep all clocks by NTP; deadlines are compared across machines."),
        Check("control", "a pod without a policy dials the canary", "Nothing can be told until a plain pod can: see its events and its network."),
        Check("tunnel", "start a tunnel's own objects, with nobody in it", _NODE),
        Check("egress-tcp", "connect to the canary from inside", _POLICY),
        Check("egress-udp", "send the canary datagrams from inside", _POLICY),
        Check("egress-icmp", "ping the canary and the nodes from inside", _PINGS, certain=False),
        Check("dns-udp", "ask the cluster's name server from inside, by UDP", _POLICY),
        Check("dns-tcp", "ask the cluster's name server from inside, by TCP", _POLICY),
        Check("egress-api-server", "connect to the API server from inside, by its service and its address", _POLICY),
        Check("egress-node", "connect to the kubelet of each node from inside", _POLICY),
        Check("metadata", "connect to the cloud's metadata addresses from inside", _POLICY, certain=False),
        Check("ipv6", "connect to the canary from inside by IPv6", _POLICY, certain=False),
        Check("ingress", "connect to the workspace from a stranger's pod", _POLICY),
        Check("gateway", "connect as the gateway to its two ports, and to a third", "The gateway must reach a tunnel; see which policy shuts it out."),
        Check("policy-delay", "dial without a pause from a pod's first moment on", _POLICY),
        Check("runtime-class", "compare the kernel inside with the node's", "Install the runtime on every node and let the class name its handler."),
        Check("user-namespace", "run a pod with hostUsers: false", "Use a kernel, a runtime and a kubelet that support user namespaces."),
        Check("pod-security", "ask for pods that the level restricted forbids", _ADMISSION),
        Check("quota", "ask for a pod without an end", _ADMISSION),
        Check("deadline", "run a pod for 2 s that wants to stay", _NODE),
        Check("read-only", "write into the root and into a volume that is mounted read-only", "The runtime must honour readOnly; do not run tunnels on it."),
        Check("dataset", "write into a dataset's volume", "The volume must be read-only at its source, not only where it is mounted.", certain=False),
        Check("guard-entry", "exec, attach, port-forward, proxy and a debugging container into a tunnel", _GUARDS),
        Check("guard-pods", "ask for a pod in a tunnel's namespace that is no workspace", _GUARDS),
        Check("worker-rights", "ask what the worker's account may", "Give the worker the chart's role: what it needs and nothing more."),
        Check("other-rights", "ask what every other account of ours may", "Take the rights away: only the worker speaks to the API server."),
        Check("ledger", "write into the ledger and undo it", "Let the broker write its database, its spool and its files.", certain=False),
        Check("clock-pods", "compare the clocks of pods and nodes with ours", "Keep all clocks by NTP; a deadline is only as good as its clock."),
        Check("clean-up", "look for what we made", "Delete it: kubectl delete namespaces,persistentvolumes -l sulku.internal/doctor"),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one check.

    Attributes:
        found: For an operator, one line.
        remedy: What to do; empty where nothing is wrong, and where ``found`` says what would tell.
        blocks: No tunnel is safe while it is so.
    """

    check: str
    attack: str
    verdict: Verdict
    found: str
    remedy: str
    blocks: bool

    def document(self) -> Plain:
        """Return it as plain JSON values."""
        return plain(self)


def finding(name: str, verdict: Verdict, found: str, *, needed: bool = True) -> Finding:
    """Return what came of the check ``name``; ``needed`` says whether this site's tunnels rely on it."""
    check = CHECKS[name]
    bad = verdict is Verdict.NO or (verdict is Verdict.UNKNOWN and check.certain)
    return Finding(name, check.attack, verdict, found, check.remedy if bad else "", needed and bad)


def safe(findings: Collection[Finding]) -> bool:
    """Return whether a tunnel would be safe: everything was looked at, and nothing blocks."""
    return {one.check for one in findings} == set(CHECKS) and not any(one.blocks for one in findings)


def weigh(targets: Iterable[str], inside: Sequence[Seen], before: Seen, after: Seen) -> tuple[Verdict, str]:
    """Return the verdict on ``targets``, and what speaks for it.

    Something that was reached from inside is open, whatever the controls say. Something that was not is closed only if the
    control reached it in the rounds before and after; a target without its control is left out, and no target left is unknown.

    Args:
        targets: Names; one with its control is enough.
        inside: Rounds of the tunnel.
        before: The round of the control that ended before the first of them.
        after: The one that began after the last.
    """
    names = [name for name in targets if any(name in each for each in (before, after, *inside))]
    reached = [f"{name} ({how})" for name in names for each in inside for got, how in [each.get(name, (False, ""))] if got]
    if reached:
        return Verdict.NO, f"open: {', '.join(dict.fromkeys(reached))}"
    alive = [name for name in names if before.get(name, (False, ""))[0] and after.get(name, (False, ""))[0]]
    tried = [name for name in alive if inside and all(name in each for each in inside)]
    if not tried:
        said = sorted({each[name][1] for name in names for each in (before, after) if name in each})
        return Verdict.UNKNOWN, f"the control does not get there either ({', '.join(said) or 'not tried'})"
    how = sorted({each[name][1] for name in tried for each in inside})
    silent = [name for name in names if name not in tried]
    left = f"; no control for {', '.join(silent)}" if silent else ""
    return Verdict.OK, f"{', '.join(tried)}: {len(inside)} rounds, {'/'.join(how)}; the control got through{left}"
