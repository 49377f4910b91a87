"""Tunnels on Kubernetes: a namespace each, proved closed from inside before anything starts, gone without a trace after."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from broker.adapters import seccomp
from broker.adapters.kubernetes_api import Api
from broker.adapters.podline import Line, Reach, direct
from sulku import ids
from sulku.closure import POD_CONTROLS, POD_WAYS, Attempt, ClosureReport, Control, judge
from sulku.codec import plain, typed
from sulku.errors import NotProvedClosedError, SandboxError, TunnelEndedError, WorkspaceNotReadyError, WorkspaceUnavailableError
from sulku.manifests import (
    DOMAIN,
    POD,
    PROBE,
    PROBE_PORT,
    PROVE,
    TUNNEL,
    WORKSPACE,
    WORKSPACE_PORT,
    Manifest,
    Place,
    manifests,
    namespace_of,
)
from sulku.plan import Alive, EndRecord, MountProof, Volume, WorkspacePlan

ROUNDS: Final = 3  # clean ones, one after the other, before anything may start
PROVE_SECONDS: Final = 40.0
END_SECONDS: Final = 40.0
FILTERS: Final = {machine: seccomp.program(machine, network=True) for machine in ("x86_64", "aarch64")}
REFUSALS: Final = {"EROFS", "EACCES"}  # gVisor looks at the owner first, and only then at the mount
_DONE: Final = f"{DOMAIN}/ended"  # label of what is remembered of a tunnel that is gone
_ACKNOWLEDGED: Final = f"{DOMAIN}/acknowledged"


@dataclass(frozen=True, slots=True)
class Canary:
    """Where the canary listens, and the key of its sealed line (on the port after it)."""

    host: str
    port: int
    key: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the probe of a pod must not reach; all of it must be alive for its silence to mean anything.

    Attributes:
        targets: ``(name, kind, host, port)``; kind ``tcp``, ``udp`` or ``icmp``; names after ``closure.POD_TARGETS``, more are welcome.
    """

    targets: tuple[tuple[str, str, str, int], ...]
    canary: Canary


class Cluster:
    """The tunnels of one cluster, made and ended by this worker alone."""

    def __init__(
        self,
        api: Api,
        place: Place,
        around: Surroundings,
        *,
        home: str,
        secret: str,
        now: Callable[[], datetime],
        reach: Reach = direct,
        sources: Callable[[WorkspacePlan], Mapping[str, Mapping[str, str]]],
    ) -> None:
        """Keep them; nothing happens yet.

        Args:
            home: Our own namespace, where it is remembered which tunnels are over.
            secret: From which the probes' keys are derived, so that no row holds them.
            reach: How a pod is spoken to: directly, or through the gateway.
            sources: For a plan's datasets, what fills the braces of ``place.datasets``.
        """
        self._api, self._place, self._around, self._home = api, place, around, home
        self._secret, self._now, self._reach, self._sources = secret, now, reach, sources
        self._rounds: dict[str, str] = {}  # tunnel → the last clean round of its prove container

    # --- opening ----------------------------------------------------------------------------------------------------

    def start(self, plan: WorkspacePlan) -> ClosureReport:
        """Make the tunnel's namespace and pod, and have the probe in it try to get out until it fails three times running.

        A report that is not closed belongs to a tunnel that is destroyed already; repeated, a new round is run.

        Raises:
            TunnelEndedError: It has ended before, or its deadline has passed.
            IsolationUnavailableError: The cluster's rules refuse the tunnel's objects.
            ClusterUnavailableError: No API server answers.
            SandboxError: The pod did not come up.
        """
        left = int((plan.deadline - self._now()).total_seconds())
        if self._memory(plan.tunnel) is not None or left <= 0:
            raise TunnelEndedError(f"{plan.tunnel} has ended")
        key = self._key(plan.tunnel)
        for one in manifests(plan, self._place, seconds=left, probe_key=key, filters=FILTERS, sources=self._sources(plan)):
            self._api.make(one)
        try:
            report = self._prove(plan, self._probe(plan.tunnel, PROVE_SECONDS))
        except (SandboxError, WorkspaceUnavailableError) as error:
            self._end(plan.tunnel, "closure-failed", str(error))
            raise SandboxError(f"it could not be proved closed: {error}") from error
        if not report.closed:
            self._end(plan.tunnel, "closure-failed", "; ".join(report.problems)[:2000])
        return report

    def _prove(self, plan: WorkspacePlan, line: Line) -> ClosureReport:
        """Return the last of the rounds; the first fractions of a second of a pod may be open (Kubernetes issue 85966)."""
        until, clean = time.monotonic() + PROVE_SECONDS, 0
        while True:
            report, digest = self._round(plan.tunnel, plan.datasets, line)
            clean = clean + 1 if report.closed else 0
            if clean >= ROUNDS:
                self._rounds[plan.tunnel] = digest
                return report
            if time.monotonic() > until:
                return report

    def _round(self, tunnel: str, datasets: Sequence[str], line: Line) -> tuple[ClosureReport, str]:
        """Have the probe try everything once, with the canary asked before and after, and return the verdict."""
        began, address = time.monotonic(), self._address(tunnel)
        canary = Line(self._around.canary.host, self._around.canary.port + 1, self._around.canary.key)
        before = canary.ask({"address": address})
        told = {"targets": [list(row) for row in self._around.targets], "datasets": list(datasets)}
        found = line.ask({"do": "probe", "told": told})
        after = canary.ask({"address": address})
        attempts = [typed(Attempt, one) for one in found["attempts"]]
        controls = [Control(f"canary-{kind}", self._alive(kind), after[kind] - before[kind]) for kind in ("tcp", "udp")]
        spent = int((time.monotonic() - began) * 1000)
        return judge(tunnel, attempts, controls, spent, ways=POD_WAYS, needed=POD_CONTROLS), str(found["round"])

    def _alive(self, kind: str) -> bool:
        where = (self._around.canary.host, self._around.canary.port)
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as caller:
                caller.settimeout(1)
                caller.connect(where)
                caller.send(b"ours")
                return caller.recv(16).startswith(b"canary")
        except OSError:
            return False

    def patrol(self, tunnel: str) -> ClosureReport:
        """Have the probe beside a running workspace try everything once more.

        Raises:
            WorkspaceUnavailableError: It does not answer, which its caller must take for an open door.
            TunnelEndedError: The tunnel has ended.
        """
        return self._round(tunnel, (), self._probe(tunnel, 5))[0]

    def release(self, tunnel: str, volumes: Sequence[Volume]) -> tuple[MountProof, ...]:
        """Let the workspace start, see how its datasets are mounted, and have it serve; repeated, the same proofs.

        Raises:
            NotProvedClosedError: The closure is not proved.
            TunnelEndedError: It has ended.
            SandboxError: It did not start as it should; the tunnel is destroyed.
        """
        line = self._probe(tunnel, 5)
        if line.role == PROVE:
            if tunnel not in self._rounds:
                raise NotProvedClosedError("no data enters a workspace that is not proved closed")
            if not line.ask({"do": "release", "round": self._rounds.pop(tunnel)}).get("released"):
                raise NotProvedClosedError("the probe has started anew since the proof")
        try:
            return self._mounted(tunnel, [one.name for one in volumes])
        except (SandboxError, WorkspaceUnavailableError) as error:
            self._end(tunnel, "crashed", str(error))
            raise SandboxError(str(error)) from error

    def _mounted(self, tunnel: str, names: list[str]) -> tuple[MountProof, ...]:
        token = self._token(tunnel)
        line = self._speak(tunnel, WORKSPACE, WORKSPACE_PORT, token, PROVE_SECONDS)
        found = line.ask({"do": "mounted", "names": names})["mounted"]
        proofs = tuple(MountProof(name, found[name]["options"], found[name]["files"], found[name]["refused"]) for name in sorted(names))
        for proof in proofs:
            if proof.refused not in REFUSALS or "ro" not in proof.options.split(","):
                raise SandboxError(f"/data/{proof.name} is not read-only: {proof.options}, {proof.refused}")
        line.ask({"do": "serve"})
        return proofs

    def wait_ready(self, tunnel: str, timeout: float) -> str:
        """Return ``http://address:port`` of the workspace once it answers HTTP.

        Args:
            timeout: Seconds.

        Raises:
            WorkspaceNotReadyError: It did not in time.
            TunnelEndedError: It has ended.
        """
        until = time.monotonic() + timeout
        while True:
            address = self._address(tunnel)
            try:
                if self._reach(address, WORKSPACE_PORT, b"GET /api HTTP/1.0\r\nHost: localhost\r\n\r\n", 2).startswith(b"HTTP/1."):
                    return f"http://{address}:{WORKSPACE_PORT}"
            except OSError:
                pass
            if time.monotonic() > until:
                raise WorkspaceNotReadyError(f"{tunnel} did not answer within {timeout:g} s")
            time.sleep(0.05)

    # --- ending -----------------------------------------------------------------------------------------------------

    def shorten(self, tunnel: str, deadline: datetime) -> None:
        """Have the kubelet end the pod earlier; a later deadline changes nothing. TunnelEndedError if it has ended."""
        pod = self._pod(tunnel)
        began = datetime.fromisoformat(pod["status"].get("startTime", pod["metadata"]["creationTimestamp"]))
        seconds = max(1, int((deadline - began).total_seconds()))
        if seconds < pod["spec"]["activeDeadlineSeconds"]:
            self._api.merge("Pod", POD, {"spec": {"activeDeadlineSeconds": seconds}}, namespace_of(tunnel))

    def stop(self, tunnel: str) -> EndRecord:
        """Destroy the tunnel and return what is left of it; one that has ended gives its record.

        Raises:
            TunnelEndedError: It never was here.
            SandboxError: The cluster does not let go of it: an operator must look.
        """
        if done := self._memory(tunnel):
            return done
        if self._api.find("Namespace", namespace_of(tunnel)) is None:
            raise TunnelEndedError(f"{tunnel} does not run here")
        return self._end(tunnel, self._cause(tunnel) or "stopped")

    def _cause(self, tunnel: str) -> str:
        """Return why the pod has ended by itself, empty if it has not."""
        pod = self._api.find("Pod", POD, namespace_of(tunnel))
        if pod is None or pod["status"].get("phase") not in {"Failed", "Succeeded"}:
            return ""
        return "deadline" if pod["status"].get("reason") == "DeadlineExceeded" else "crashed"

    def _end(self, tunnel: str, cause: str, detail: str = "") -> EndRecord:
        """Kill the pod, wait until the kubelet says that nothing of it lives, then remove everything that was made."""
        space = namespace_of(tunnel)
        self._rounds.pop(tunnel, None)
        self._api.remove("Pod", POD, space, grace=1)
        dead = self._api.gone("Pod", POD, space, seconds=END_SECONDS)
        record = EndRecord(tunnel, cause, self._now(), 0 if dead else 1, 0 if dead else 1, home_kept=True, detail=detail)
        if not dead:
            raise SandboxError(f"the pod of {tunnel} does not end: its node may be away")
        self._remember(record)
        for claim in self._api.every("PersistentVolumeClaim", TUNNEL, space):  # by hand: a namespace waits ten seconds for them
            self._api.remove("PersistentVolumeClaim", claim["metadata"]["name"], space)
        self._api.remove("Namespace", space)
        for volume in self._api.every("PersistentVolume", f"{TUNNEL}={space}"):
            self._api.remove("PersistentVolume", volume["metadata"]["name"])
        return self._memory(tunnel) or record  # another worker may have been first

    def _remember(self, record: EndRecord) -> None:
        name = namespace_of(record.tunnel)
        body = {"apiVersion": "v1", "kind": "ConfigMap", "immutable": True, "data": {"record": json.dumps(plain(record))}}
        self._api.make({**body, "metadata": {"name": name, "namespace": self._home, "labels": {_DONE: name}}})

    def _memory(self, tunnel: str) -> EndRecord | None:
        found = self._api.find("ConfigMap", namespace_of(tunnel), self._home)
        return typed(EndRecord, json.loads(found["data"]["record"])) if found else None

    # --- looking ----------------------------------------------------------------------------------------------------

    def status(self, tunnel: str) -> Alive | EndRecord | None:
        """Return how ``tunnel`` fares: alive, how it ended, or None if it never was here."""
        if done := self._memory(tunnel):
            return done
        pod = self._api.find("Pod", POD, namespace_of(tunnel))
        if pod is None:
            space = self._api.find("Namespace", namespace_of(tunnel))
            return None if space is None else self._end(tunnel, "crashed", "its pod is gone")
        if cause := self._cause(tunnel):
            return self._end(tunnel, cause)
        running = [one for one in _containers(pod) if "running" in one["state"]]
        phase = {PROVE: "proved" if tunnel in self._rounds else "busy", WORKSPACE: "released"}
        names = [one["name"] for one in running]
        said = phase[WORKSPACE] if WORKSPACE in names else phase[PROVE]
        return Alive(tunnel, said, self._left(pod), len(running))

    def _left(self, pod: Manifest) -> int:
        began = datetime.fromisoformat(pod["status"].get("startTime", pod["metadata"]["creationTimestamp"]))
        spent = (self._now() - began).total_seconds()
        return max(0, int((pod["spec"]["activeDeadlineSeconds"] - spent) * 1000))

    def tunnels(self) -> list[str]:
        """Return every tunnel that has a namespace, whoever made it."""
        return sorted(ids.from_label(one["metadata"]["name"]) for one in self._api.every("Namespace", TUNNEL))

    def ended(self) -> list[EndRecord]:
        """Return every end record that is not acknowledged, those of pods that ended by themselves included, oldest first."""
        for tunnel in self.tunnels():
            self.status(tunnel)
        fresh = self._api.every("ConfigMap", f"{_DONE},!{_ACKNOWLEDGED}", self._home)
        records: Iterable[EndRecord] = [typed(EndRecord, json.loads(one["data"]["record"])) for one in fresh]
        return sorted(records, key=lambda one: (one.at, one.tunnel))

    def acknowledge(self, tunnel: str) -> None:
        """Keep the record of ``tunnel`` (a late start stays refused) but list it no more: it is in the ledger."""
        self._api.merge("ConfigMap", namespace_of(tunnel), {"metadata": {"labels": {_ACKNOWLEDGED: "yes"}}}, self._home)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _key(self, tunnel: str) -> str:
        return hmac.new(self._secret.encode(), f"probe {tunnel}".encode(), hashlib.sha256).hexdigest()

    def _token(self, tunnel: str) -> str:
        secret = self._api.find("Secret", "tunnel", namespace_of(tunnel))
        if secret is None:
            raise TunnelEndedError(f"{tunnel} has ended")
        return base64.b64decode(secret["data"]["token"]).decode()

    def _pod(self, tunnel: str) -> Manifest:
        pod = self._api.find("Pod", POD, namespace_of(tunnel))
        if pod is None:
            raise TunnelEndedError(f"{tunnel} has ended")
        return pod

    def _address(self, tunnel: str) -> str:
        return str(self._pod(tunnel)["status"].get("podIP", ""))

    def _probe(self, tunnel: str, seconds: float) -> Line:
        """Return a line to whichever probe runs: the one before the workspace, or the one beside it."""
        return self._speak(tunnel, (PROVE, PROBE), PROBE_PORT, self._key(tunnel), seconds)

    def _speak(self, tunnel: str, containers: str | tuple[str, ...], port: int, key: str, seconds: float) -> Line:
        """Return a line to a container once it runs and listens.

        Raises:
            SandboxError: It does not run, and why.
            TunnelEndedError: The pod is gone.
        """
        until = time.monotonic() + seconds
        while True:
            pod = self._pod(tunnel)
            states = {one["name"]: one["state"] for one in _containers(pod)}
            if any("running" in states.get(name, {}) for name in ((containers,) if isinstance(containers, str) else containers)):
                try:
                    return Line(str(pod["status"]["podIP"]), port, key, self._reach)
                except WorkspaceUnavailableError:
                    pass
            if time.monotonic() > until or pod["status"].get("phase") == "Failed":
                raise SandboxError(f"the pod does not come up: {_why(pod)}")
            time.sleep(0.05)


def _containers(pod: Manifest) -> list[dict[str, Any]]:
    status = pod["status"]
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def _why(pod: Manifest) -> str:
    """Return what keeps a pod from running, for an operator."""
    waiting = [f"{one['name']}: {json.dumps(one['state'])[:300]}" for one in _containers(pod) if "running" not in one["state"]]
    unmet = [one.get("message", "") for one in pod["status"].get("conditions", []) if one.get("status") == "False"]
    return "; ".join([pod["status"].get("message", ""), *waiting, *unmet])[:1000]
