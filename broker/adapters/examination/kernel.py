"""What the nodes must keep: another kernel inside, user namespaces, read-only mounts, a deadline, clocks in step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from broker.adapters.examination.ward import Ward
from sulku.errors import SandboxError
from sulku.manifests import POD, PROBE, PROVE, WORKSPACE
from sulku.rehearsal import KEPT, Rehearsal
from sulku.soundness import Finding, Verdict, finding

STEP: Final = 2.0  # seconds that a clock may be off
LATE: Final = 5.0  # seconds that a pod may outlive its deadline
BEAT: Final = 0.25  # half of what lies between two beats of a pod
GVISOR: Final = "Starting gVisor"  # how the log of its kernel begins


class Nodes:
    """The rows that are about nodes."""

    def __init__(self, ward: Ward, plan: Rehearsal, now: Callable[[], datetime]) -> None:
        """Take the pods that are there."""
        self.ward, self.plan, self._now = ward, plan, now

    def runtime(self) -> Finding:
        """Compare the kernel that answers in the tunnel with the node's, and with what a pod without the class sees."""
        name = self.plan.place.runtime_class
        inside = self.ward.first(self.plan.inside, POD, "start")
        plain = self.ward.first(self.plan.outside, "canary", "start")
        node = self._kernel_of(self.ward.pod(self.plan.inside, POD))
        control = self._kernel_of(self.ward.pod(self.plan.outside, "canary"))
        if not name:
            return finding("runtime-class", Verdict.NO, f"none, and weak isolation is meant: {inside['release']} is the node's own kernel", needed=False)
        same = [what for what in ("release", "version", "boot") if inside[what] and inside[what] == plain[what]]
        if inside["release"] == node or "boot" in same:
            return finding("runtime-class", Verdict.NO, f"{name} runs on the node's own kernel: {inside['version'] or inside['release']}")
        handler = str(self.ward.api.call("GET", f"/apis/node.k8s.io/v1/runtimeclasses/{name}")["handler"])
        gvisor = inside["log"].find(GVISOR) >= 0
        if ("runsc" in handler or "gvisor" in f"{name} {handler}".lower()) and not gvisor:
            return finding("runtime-class", Verdict.NO, f"{name} ({handler}) should be gVisor, and {inside['release']} does not say so in its log")
        told = f"{name} ({handler}): {'gVisor' if gvisor else 'another kernel'} {inside['release']} inside, {node} on the node"
        if plain["release"] != control:
            return finding("runtime-class", Verdict.OK, f"{told}; a pod without the class is not on the node's kernel either ({plain['release']})")
        return finding("runtime-class", Verdict.OK, f"{told}; a pod without the class sees {plain['release']}")

    def _kernel_of(self, pod: Mapping[str, Any]) -> str:
        node = self.ward.api.call("GET", f"/api/v1/nodes/{pod['spec']['nodeName']}")
        return str(node["status"]["nodeInfo"]["kernelVersion"])

    def users(self) -> Finding:
        """Try a pod whose root is nobody on the node."""
        wanted = self.plan.place.user_namespace
        used = "tunnels use it" if wanted else "tunnels are set not to use it"
        try:
            pod = self.ward.started(self.plan.outside, "users")
            facts = self.ward.first(self.plan.outside, "users", "start")
        except SandboxError as error:
            return finding("user-namespace", Verdict.NO, f"{used}; {error}", needed=wanted)
        if pod["spec"].get("hostUsers") is not False:
            return finding("user-namespace", Verdict.NO, f"{used}; the API server drops the field", needed=wanted)
        mapped = facts["uids"][:2] != ["0", "0"]
        if not mapped and not self.plan.place.runtime_class:
            return finding("user-namespace", Verdict.NO, f"{used}; ids inside are the node's: {' '.join(facts['uids'][:3])}", needed=wanted)
        shown = f"0 inside is {facts['uids'][1]} outside" if mapped else "the sandbox shows its own ids, so its map is not to be seen from inside"
        return finding("user-namespace", Verdict.OK, f"possible ({shown}); {used}")

    def deadline(self) -> Finding:
        """Return when the kubelet ended a pod of 2 s, while one without such a deadline lived."""
        ended: list[Mapping[str, Any]] = []

        def over() -> bool:
            status = self.ward.pod(self.plan.outside, "short")["status"]
            ended[:] = [status]
            return status.get("phase") in {"Failed", "Succeeded"}

        try:
            self.ward.wait("a pod of 2 s to end", over, seconds=20 + LATE)
        except SandboxError as error:
            return finding("deadline", Verdict.NO, f"it outlives its deadline: {error}")
        if ended[0].get("reason") != "DeadlineExceeded":
            return finding("deadline", Verdict.UNKNOWN, f"it ended before: {self.ward.why(self.plan.outside, 'short')}")
        if self.ward.pod(self.plan.outside, "canary")["status"]["phase"] != "Running":
            return finding("deadline", Verdict.UNKNOWN, "the pod beside it, with time left, does not live either")
        states = [one["state"].get("terminated", {}).get("finishedAt") for one in ended[0].get("containerStatuses", [])]
        if not states or not states[0]:
            return finding("deadline", Verdict.OK, "ended by its deadline; the kubelet does not say when")
        lived = (datetime.fromisoformat(states[0]) - datetime.fromisoformat(ended[0]["startTime"])).total_seconds()
        verdict = Verdict.OK if lived <= 2 + LATE else Verdict.NO
        return finding("deadline", verdict, f"ended {lived:.0f} s after its start (in whole seconds); the pod beside it lives on")

    def volumes(self) -> Iterator[Finding]:
        """Return what the kernel answered to writes, while the same volume could be written through its other mount."""
        wrote = self.ward.first(self.plan.inside, POD, "wrote", PROVE)["folder"] == KEPT
        folders = self.ward.first(self.plan.inside, POD, "refused")["folders"]
        wrong = [f"{folder}: {'/'.join(folders[folder]['answers'])}" for folder in (KEPT, "/") if not _read_only(folders[folder])]
        if wrong:
            yield finding("read-only", Verdict.NO, f"written or half refused: {', '.join(wrong)}")
        elif not wrote or not folders[KEPT]["files"]:
            yield finding("read-only", Verdict.UNKNOWN, "the file that the first container wrote is not to be seen")
        else:
            yield finding("read-only", Verdict.OK, f"{'/'.join(folders[KEPT]['answers'])} in {KEPT} and {'/'.join(folders['/']['answers'])} in /; the first container wrote where the workspace may not")
        if not (name := self.plan.sample.get("name", "")):
            yield finding("dataset", Verdict.UNKNOWN, "not tried: name a dataset with --dataset to try its volume")
            return
        data = folders[f"/data/{name}"]
        if not _read_only(data):
            yield finding("dataset", Verdict.NO, f"/data/{name}: {'/'.join(data['answers'])}")
        elif not data["files"]:
            yield finding("dataset", Verdict.UNKNOWN, f"/data/{name} holds no file that can be read")
        else:
            yield finding("dataset", Verdict.OK, f"{'/'.join(data['answers'])} in /data/{name}, where {data['files']} files can be read")

    def clocks(self) -> Finding:
        """Compare the clocks of pods, by the last line that each printed, and of nodes, by the leases that they renew."""
        pods = ((self.plan.outside, "canary", WORKSPACE), (self.plan.outside, "control", WORKSPACE), (self.plan.inside, POD, WORKSPACE), (self.plan.inside, POD, PROBE))
        off = {f"{name}/{container}": max(self._ahead(space, name, container) for _ in range(3)) for space, name, container in pods}
        leases = self.ward.api.call("GET", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases")["items"]
        ages = {one["metadata"]["name"]: (self._now() - datetime.fromisoformat(one["spec"]["renewTime"])).total_seconds() for one in leases}
        wrong = [f"{name} {seconds:+.1f} s" for name, seconds in off.items() if abs(seconds) > STEP]
        wrong += [f"node {name} {-age:+.1f} s" for name, age in ages.items() if age < -STEP]
        if wrong:
            return finding("clock-pods", Verdict.NO, f"out of step: {', '.join(wrong)}")
        most = max(off.values(), key=abs)
        return finding("clock-pods", Verdict.OK, f"{len(off)} containers within {abs(most):.1f} s (± 0.5 s); {len(ages)} nodes not ahead of us")

    def _ahead(self, space: str, name: str, container: str) -> float:
        """Return by how many seconds a pod's clock is ahead of ours, less what it took to be heard."""
        began, clock = time.monotonic(), self._now().timestamp()
        last = self.ward.lines(space, name, container, {"tailLines": "1"})
        middle = clock + (time.monotonic() - began) / 2
        if not last:
            raise SandboxError(f"{name} says nothing")
        return float(last[-1]["at"]) - middle + BEAT


def _read_only(told: Mapping[str, Any]) -> bool:
    return set(told["answers"]) <= {"EROFS", "EACCES"}  # gVisor looks at the owner first, and only then at the mount
