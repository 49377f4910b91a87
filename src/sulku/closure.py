"""Is this workspace closed? Attempts to get out, controls that show that they could have been seen, and the verdict."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from sulku.codec import Plain, plain

# What a probe must have tried before its silence means anything; a probe that tries more is welcome.
WAYS: Final = frozenset(
    {
        "tcp4-loopback", "tcp4-mapped", "tcp4-any", "tcp4-host", "tcp6-loopback", "udp4-loopback", "udp6-loopback",
        "route4-public", "route4-private", "route4-broadcast", "route4-multicast", "route6-global", "route6-link-local",
        "metadata-tcp", "dns-udp", "dns-tcp", "dns-resolver", "icmp-ping", "raw-socket", "packet-socket",
        "netlink-socket", "vsock-socket", "other-families", "interfaces", "abstract-socket", "abstract-listing",
        "path-socket", "broker-sockets", "system-sockets", "neighbours", "host-file", "root-listing", "host-processes",
        "host-signal", "proc-sys", "proc-secrets", "mount", "new-mount", "unshare", "setns", "clone-user", "ptrace",
        "other-memory", "chroot", "setuid", "capabilities", "no-new-privileges", "seccomp", "kernel-calls",
        "device-nodes", "device-list", "write-outside", "descriptors", "environment", "terminal", "shared-memory",
        "cgroups", "datasets-absent",
    }
)  # fmt: skip
# The same for a pod, which has a network that must lead nowhere: what the broker tells of, and what the probe looks at.
POD_TARGETS: Final = frozenset(
    {
        "canary-tcp", "canary-udp", "canary-icmp", "api-service", "api-address", "dns-udp", "dns-tcp", "node-kubelet", "node-icmp",
        "neighbour-tcp", "metadata", "broker", "ipv6-tcp", "ipv6-udp",
    }
)  # fmt: skip
POD_WAYS: Final = POD_TARGETS | frozenset(
    {
        "sockets", "ipv6-addresses", "account", "services", "host-sockets", "datasets-absent", "proc-sys", "proc-secrets", "mount",
        "new-mount", "unshare", "setns", "clone-user", "ptrace", "other-memory", "chroot", "setuid", "capabilities",
        "no-new-privileges", "kernel-calls", "device-nodes", "write-outside", "terminal",
    }
)  # fmt: skip
POD_CONTROLS: Final = frozenset({"canary-tcp", "canary-udp"})
CONTROLS: Final = frozenset({"tcp4", "tcp-any", "udp4", "abstract", "path", "file"})


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way out, tried from inside.

    Attributes:
        way: Its stable name.
        closed: It failed.
        how: What the kernel answered, such as ``ENETUNREACH``, or what was found.
    """

    way: str
    closed: bool
    how: str


@dataclass(frozen=True, slots=True)
class Control:
    """One canary, seen from outside in the same round.

    Attributes:
        alive: It answered us, so that it would have answered the probe.
        strangers: Contacts that were not ours: somebody got out, whatever the probe says.
    """

    canary: str
    alive: bool
    strangers: int


@dataclass(frozen=True, slots=True)
class ClosureReport:
    """What one probe found in one tunnel.

    Attributes:
        closed: Nothing got out, everything was tried, and every canary was alive.
        problems: What speaks against it, one line each; empty exactly when closed.
    """

    tunnel: str
    closed: bool
    attempts: tuple[Attempt, ...]
    controls: tuple[Control, ...]
    problems: tuple[str, ...]
    milliseconds: int

    @property
    def breached(self) -> bool:
        """Whether something did get out; a report that is not closed may also be one of a round that could not be had."""
        return any(not one.closed for one in self.attempts) or any(one.strangers for one in self.controls)

    def document(self) -> Plain:
        """Return the report as plain JSON values; the ledger keeps the digest of its canonical form."""
        return plain(self)


def judge(
    tunnel: str,
    attempts: Iterable[Attempt],
    controls: Iterable[Control],
    milliseconds: int,
    *,
    ways: AbstractSet[str] = WAYS,
    needed: AbstractSet[str] = CONTROLS,
) -> ClosureReport:
    """Return the verdict; whatever is missing, dead or repeated counts against closure.

    Args:
        ways: What must have been tried.
        needed: The canaries that must have been seen alive.
    """
    tried, shown = tuple(attempts), tuple(controls)
    problems = [f"{one.way}: open ({one.how})" for one in tried if not one.closed]
    problems += [f"{way}: not tried" for way in sorted(ways - {one.way for one in tried})]
    problems += [f"control {one.canary}: dead" for one in shown if not one.alive]
    problems += [f"control {one.canary}: {one.strangers} contacts from inside" for one in shown if one.strangers]
    problems += [f"control {name}: missing" for name in sorted(needed - {one.canary for one in shown})]
    if len({one.way for one in tried}) != len(tried):
        problems.append("an attempt is reported twice")
    return ClosureReport(tunnel, not problems, tried, shown, tuple(problems), milliseconds)
