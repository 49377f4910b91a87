"""The network's rows: ways out of a tunnel and into it, tried from inside while an unrestricted pod tries the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from broker.adapters.examination.ward import Ward, seen
from sulku.manifests import POD, PROBE_PORT, PROVE, WORKSPACE_PORT, Manifest
from sulku.rehearsal import CANARY, OTHER_PORT, Rehearsal
from sulku.soundness import Finding, Verdict, finding, weigh

Row = tuple[str, str, str, int]  # name, kind (tcp, udp, icmp), host, port
ROUNDS: Final = 3
MOST: Final = 20  # nodes that are dialled
METADATA: Final = ("169.254.169.254", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254")  # of the large clouds
KUBELET: Final = 10250
ROWS: Final = {  # check → beginnings of its targets' names
    "egress-tcp": ("canary-tcp",), "egress-udp": ("canary-udp",), "egress-icmp": ("canary-icmp", "node-icmp"),
    "dns-udp": ("dns-udp",), "dns-tcp": ("dns-tcp",), "egress-api-server": ("api-",), "egress-node": ("kubelet-",),
    "metadata": ("metadata-",), "ipv6": ("ipv6-",),
}  # fmt: skip


@dataclass(slots=True)
class Network:
    """What the network is made of, as found by looking."""

    ward: Ward
    plan: Rehearsal
    canary: str = ""
    canary6: str = ""
    nameservers: list[str] = field(default_factory=list)

    @property
    def gateway(self) -> str:
        """Name of the pod that is labelled as the gateway is."""
        return f"doctor-{self.plan.run}"

    def meet(self, canary: Manifest, facts: Mapping[str, Any]) -> None:
        """Take the addresses of the canary, and the name servers that its pod was given."""
        addresses = [one["ip"] for one in canary["status"].get("podIPs", [])]
        self.canary = str(canary["status"]["podIP"])
        self.canary6 = next((one for one in addresses if ":" in one), "")
        self.nameservers = list(facts["nameservers"])

    def targets(self) -> list[Row]:
        """Return everything that a tunnel must not reach."""
        call = self.ward.api.call
        service = call("GET", "/api/v1/namespaces/default/services/kubernetes")["spec"]
        slices = call("GET", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", query={"labelSelector": "kubernetes.io/service-name=kubernetes"})
        ends = [(address, one["ports"][0]["port"]) for one in slices["items"] for end in one["endpoints"] for address in end["addresses"]]
        nodes = call("GET", "/api/v1/nodes", query={"limit": str(MOST)})["items"]
        inner = [(one["metadata"]["name"], a["address"]) for one in nodes for a in one["status"]["addresses"] if a["type"] == "InternalIP"]
        rows: list[Row] = [
            ("canary-tcp", "tcp", self.canary, CANARY), ("canary-udp", "udp", self.canary, CANARY), ("canary-icmp", "icmp", self.canary, 0),
            ("api-service", "tcp", service["clusterIP"], service["ports"][0]["port"]),
            *((f"api-{host}", "tcp", host, port) for host, port in ends[:4]),
            *((f"dns-{kind}-{host}", kind, host, 53) for host in self.nameservers for kind in ("udp", "tcp")),
            *((f"kubelet-{name}-{host}", "tcp", host, KUBELET) for name, host in inner),
            *((f"node-icmp-{host}", "icmp", host, 0) for _, host in inner if ":" not in host),
            *((f"metadata-{host}", "tcp", host, 80) for host in METADATA),
        ]  # fmt: skip
        if self.canary6:
            rows += [("ipv6-tcp", "tcp", self.canary6, CANARY), ("ipv6-udp", "udp", self.canary6, CANARY)]
        return rows

    def control(self) -> Finding:
        """Show that a plain pod gets to the canary: without that, nothing else means anything."""
        got = seen(self.ward.rounds(self.plan.outside, "control")[0])
        open_ = [name for name, (reached, _) in got.items() if reached]
        dead = [f"{name} ({got[name][1]})" for name in ("canary-tcp", "canary-udp") if not got[name][0]]
        if dead:
            return finding("control", Verdict.NO, f"not reached: {', '.join(dead)}")
        return finding("control", Verdict.OK, f"reached {len(open_)} of {len(got)}: {', '.join(sorted(open_))}")

    def egress(self) -> Iterator[Finding]:
        """Weigh every way out: control, three rounds inside, control; then what the canary saw of it."""
        ward, plan = self.ward, self.plan
        address = str(ward.pod(plan.inside, POD)["status"]["podIP"])
        witness = ward.rounds(plan.outside, "canary")[0]["seen"]
        before = seen(ward.rounds(plan.outside, "control")[0])
        inside = [seen(one) for one in ward.rounds(plan.inside, POD, ROUNDS)]
        after = seen(ward.rounds(plan.outside, "control")[0])
        saw = ward.rounds(plan.outside, "canary")[0]["seen"]
        for check, beginnings in ROWS.items():
            names = [name for name in before if name.startswith(beginnings)]
            verdict, found = weigh(names, inside, before, after)
            kind = check.removeprefix("egress-")
            came = saw.get(kind, {}).get(address, 0) - witness.get(kind, {}).get(address, 0)
            if came > 0:
                verdict, found = Verdict.NO, f"the canary saw {came} contacts from inside: {found}"
            if check == "ipv6" and not names:
                verdict, found = self._without_ipv6()
            yield finding(check, verdict, found)

    def _without_ipv6(self) -> tuple[Verdict, str]:
        """Return that there is nothing to try, if no pod has such an address."""
        spaces = ((self.plan.outside, "control"), (self.plan.inside, POD))
        held = [row for space, name in spaces for row in self.ward.first(space, name, "start")["ipv6"]]
        if held:
            return Verdict.UNKNOWN, "pods have IPv6 addresses, and the canary none"
        return Verdict.OK, "no pod here has an IPv6 address"

    def delay(self) -> Finding:
        """Return how long the tunnel's pod was open at its beginning, as its first container found it."""
        told = self.ward.first(self.plan.inside, POD, "fresh", PROVE)
        if not told["held"]:
            return finding("policy-delay", Verdict.NO, f"{told['out']} of {told['tries']} connections got out, the last after {told['milliseconds']} ms: it never held")
        if not told["out"]:
            return finding("policy-delay", Verdict.OK, f"held from the first of {told['tries']} tries on (0 ms)")
        return finding("policy-delay", Verdict.OK, f"held after {told['milliseconds']} ms; {told['out']} connections got out before")

    def callers(self, address: str) -> list[Row]:
        """Return what the stranger and the gateway dial: the tunnel's ports, and the canary."""
        ports = (("workspace", WORKSPACE_PORT), ("probe", PROBE_PORT), ("other", OTHER_PORT))
        rows: list[Row] = [(name, "tcp", address, port) for name, port in ports]
        return [*rows, ("other-udp", "udp", address, OTHER_PORT), ("canary-tcp", "tcp", self.canary, CANARY)]

    def ingress(self) -> Iterator[Finding]:
        """Weigh the ways in: a stranger gets nowhere, while the gateway gets to its two ports and no further."""
        ward, plan, home = self.ward, self.plan, self.plan.place.gateway[0]
        address = str(ward.pod(plan.outside, "stranger")["status"]["podIP"])
        witness = ward.rounds(plan.inside, POD)[0]["seen"]
        before = seen(ward.rounds(home, self.gateway)[0])
        stranger = [seen(one) for one in ward.rounds(plan.outside, "stranger", ROUNDS)]
        after = seen(ward.rounds(home, self.gateway)[0])
        saw = ward.rounds(plan.inside, POD)[0]["seen"]
        verdict, found = weigh(("workspace", "probe"), stranger, before, after)
        beyond = [name for name in ("other", "other-udp") for one in stranger if one[name][0]]
        came = sum(saw[kind].get(address, 0) - witness[kind].get(address, 0) for kind in saw)
        if beyond or came > 0:
            verdict, found = Verdict.NO, f"a stranger got in: {', '.join(sorted(set(beyond))) or found}; the workspace saw {came} contacts"
        elif verdict is Verdict.OK and not all(one["canary-tcp"][0] for one in stranger):
            verdict, found = Verdict.UNKNOWN, "the stranger reaches nothing at all, not even the canary"
        yield finding("ingress", verdict, found)
        rounds = (before, after)
        shut = sorted({name for name in ("workspace", "probe") for one in rounds if not one[name][0]})
        wide = sorted({name for name in ("other", "other-udp") for one in rounds if one[name][0]})
        if shut or wide:
            yield finding("gateway", Verdict.NO, "; ".join([*(f"cannot reach {name}" for name in shut), *(f"reaches {name} as well" for name in wide)]))
        else:
            yield finding("gateway", Verdict.OK, f"reaches {WORKSPACE_PORT} and {PROBE_PORT}, and not {OTHER_PORT}")
