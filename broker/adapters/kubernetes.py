"""Tunnels on Kubernetes: a namespace each, proved closed from inside before anything starts, gone without a trace after."""

from __future__ import annotations

import hashlib
import hmac
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from broker.adapters import seccomp
from broker.adapters.kubernetes_api import Api, pauses
from broker.adapters.kubernetes_endings import _DONE, END_SECONDS, Endings, why
from broker.adapters.podline import Line, Reach, direct
from sulku.closure import POD_CONTROLS, POD_WAYS, Attempt, ClosureReport, Control, judge
from sulku.codec import plain, typed
from sulku.errors import (
    IsolationUnavailableError,
    NotProvedClosedError,
    SandboxError,
    TunnelEndedError,
    WorkspaceNotReadyError,
    WorkspaceUnavailableError,
)
from sulku.manifests import POD, PROBE, PROBE_PORT, PROVE, WORKSPACE, WORKSPACE_PORT, Manifest, Place, manifests, namespace_of
from sulku.plan import MountProof, Volume, WorkspacePlan

__all__ = ["END_SECONDS", "FILTERS", "ROUNDS", "_DONE", "Canary", "Cluster", "Nearby", "Surroundings"]

ROUNDS: Final = 3  # clean ones, one after the other, before anything may start
PROVE_SECONDS: Final = 40.0
CALLERS: Final = 4  # of the canary at a time, which hangs up on more than eight: there may be another worker
KNOWN_SECONDS: Final = 5.0
ASKS: Final = 3  # of a pod whose address is known, before the API server is asked for it again
FILTERS: Final = {machine: seccomp.program(machine, network=True) for machine in ("x86_64", "aarch64")}
REFUSALS: Final = {"EROFS", "EACCES"}  # gVisor looks at the owner first, and only then at the mount
_API: Final = b"GET /api HTTP/1.0\r\nHost: localhost\r\n\r\n"  # of JupyterLab; its answer needs no token


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


class Nearby(Protocol):
    """The surroundings as they are now, looked up whenever they are asked for; ``Surroundings`` are those that never change."""

    @property
    def targets(self) -> tuple[tuple[str, str, str, int], ...]:
        """As of ``Surroundings``."""

    @property
    def canary(self) -> Canary:
        """As of ``Surroundings``."""


class Cluster(Endings):
    """The tunnels of one cluster, made and ended by this worker alone."""

    def __init__(
        self,
        api: Api,
        place: Place,
        around: Nearby,
        *,
        home: str,
        secret: str,
        token: Callable[[str], str],
        now: Callable[[], datetime],
        reach: Reach = direct,
        sources: Callable[[WorkspacePlan], Mapping[str, Mapping[str, str]]],
    ) -> None:
        """Keep them; nothing happens yet.

        Args:
            home: Our own namespace, where it is remembered which tunnels are over.
            secret: From which the probes' keys are derived, so that no row holds them.
            token: The workspace's token of a tunnel. Here it only seals; who sends it is the gateway.
            reach: How a pod is spoken to: directly, or through the gateway.
            sources: For a plan's datasets, what fills the braces of ``place.datasets``.
        """
        super().__init__(api, home, now, place.gateway[0])
        self._place, self._around = place, around
        self._secret, self._token, self._reach, self._sources = secret, token, reach, sources
        self._turn = threading.BoundedSemaphore(CALLERS)

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
        try:
            for one in manifests(plan, self._place, seconds=left, probe_key=key, filters=FILTERS, sources=self._sources(plan)):
                self._make(one)
            report = self._prove(plan, self._probe(plan.tunnel, PROVE_SECONDS))
        except IsolationUnavailableError as error:
            self._end(plan.tunnel, "closure-failed", str(error))
            raise
        except TunnelEndedError:
            self._end(plan.tunnel, "crashed", "its pod was removed while it was proved")
            raise
        except (SandboxError, WorkspaceUnavailableError) as error:
            taken = self._api.find("Pod", POD, namespace_of(plan.tunnel)) is None
            self._end(plan.tunnel, "crashed" if taken else "closure-failed", str(error))
            raise SandboxError(f"it could not be proved closed: {error}") from error
        if not report.closed:
            self._end(plan.tunnel, "closure-failed", "; ".join(report.problems)[:2000])
        return report

    def _make(self, one: Manifest) -> None:
        """Create an object; quotas are asked before names, so that one which is there already may be refused as one too many."""
        if one["kind"] == "PersistentVolumeClaim":
            self._known("PersistentVolume", fields=f"metadata.name={one['spec']['volumeName']}")
        elif one["kind"] == "Pod":
            self._known("PersistentVolumeClaim", one["metadata"]["namespace"])
        try:
            self._api.make(one)
        except IsolationUnavailableError as error:
            kind, space = one["kind"], one["metadata"].get("namespace", "")
            full = "exceeded quota: " in str(error)
            there = (kind == "Pod" and full and self._api.find("Pod", POD, space)) or (kind == "Secret" and "used: count/secrets=1" in str(error))
            if not there:
                raise

    def _known(self, kind: str, space: str = "", fields: str = "") -> None:
        """Wait until the cluster's controllers have a volume, or have bound the claims; after a while go on: they may yet.

        A claim that they see before its volume waits for their next round, 15 s, and a pod before its claims for the scheduler's.
        """
        waits = pauses(KNOWN_SECONDS)
        while any(one["status"].get("phase") in {None, "Pending"} for one in self._api.every(kind, self._ours, space, fields=fields)):
            if not next(waits):
                return

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
        began, address, canary = time.monotonic(), line.host, self._around.canary
        told = {"targets": [list(row) for row in self._around.targets], "datasets": list(datasets)}
        before = self._came(canary, address)
        found = line.ask({"do": "probe", "told": told})
        after = self._came(canary, address)
        attempts = [typed(Attempt, one) for one in found["attempts"]]
        controls = [Control(f"canary-{kind}", self._alive(canary, kind), after[kind] - before[kind]) for kind in after if kind in before]
        spent = int((time.monotonic() - began) * 1000)
        return judge(tunnel, attempts, controls, spent, ways=POD_WAYS, needed=POD_CONTROLS), str(found["round"])

    def _came(self, canary: Canary, address: str) -> dict[str, int]:
        """Return how often the canary was reached from an address, by kind; nothing if it does not say, and then nothing is proved."""
        try:
            with self._turn:
                return dict(Line(canary.host, canary.port + 1, canary.key).ask({"address": address}))
        except WorkspaceUnavailableError:
            return {}

    def _alive(self, canary: Canary, kind: str) -> bool:
        where = (canary.host, canary.port)
        try:
            with self._turn, socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as caller:
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
        try:
            return self._round(tunnel, (), self._probe(tunnel, 5))[0]
        except SandboxError as error:
            raise WorkspaceUnavailableError(str(error)) from error

    def release(self, tunnel: str, volumes: Sequence[Volume]) -> tuple[MountProof, ...]:
        """Let the workspace start, see how its datasets are mounted, and have it serve; repeated, the same proofs.

        Raises:
            NotProvedClosedError: The closure is not proved.
            TunnelEndedError: It has ended.
            SandboxError: It did not start as it should; the tunnel is destroyed.
        """
        line, proof = self._probe(tunnel, PROVE_SECONDS), self._rounds.pop(tunnel, None)
        if line.role == PROVE:
            if proof is None:
                raise NotProvedClosedError("no data enters a workspace that is not proved closed")
            if not line.ask({"do": "release", "round": proof}).get("released"):
                raise NotProvedClosedError("the probe has started anew since the proof")
        try:
            return self._served(tunnel, [one.name for one in volumes])
        except (SandboxError, WorkspaceUnavailableError) as error:
            self._end(tunnel, "crashed", str(error))
            raise SandboxError(str(error)) from error

    def _served(self, tunnel: str, names: list[str]) -> tuple[MountProof, ...]:
        """Have the workspace serve once its mounts are as they should be; the probe beside it keeps what was shown, for whoever asks again."""
        beside = self._speak(tunnel, (PROBE,), PROBE_PORT, self._key(tunnel), PROVE_SECONDS)
        kept = beside.ask({"do": "kept"})["kept"]
        if kept is None:
            line = self._speak(tunnel, (WORKSPACE,), WORKSPACE_PORT, self._token(tunnel), PROVE_SECONDS)
            found = line.ask({"do": "mounted", "names": names})["mounted"]
            proofs = tuple(MountProof(name, found[name]["options"], found[name]["files"], found[name]["refused"]) for name in sorted(names))
            for proof in proofs:
                if proof.refused not in REFUSALS or "ro" not in proof.options.split(","):
                    raise SandboxError(f"/data/{proof.name} is not read-only: {proof.options}, {proof.refused}")
            beside.ask({"do": "keep", "kept": plain(proofs)})
            line.ask({"do": "serve"})
            return proofs
        self._serve_again(tunnel)
        return tuple(typed(MountProof, one) for one in kept)

    def _serve_again(self, tunnel: str) -> None:
        """Have a workspace serve whose proofs are kept: somebody was killed before they told it to, or after."""
        waits = pauses(PROVE_SECONDS)
        while not self._serves(address := self._address(tunnel)):
            try:
                Line(address, WORKSPACE_PORT, self._token(tunnel), self._reach).ask({"do": "serve"})
                return
            except WorkspaceUnavailableError:
                if not next(waits):
                    raise

    def _serves(self, address: str) -> bool:
        """Return whether JupyterLab answers there, and no longer our own first program."""
        try:
            return self._reach(address, WORKSPACE_PORT, _API, 2).startswith(b"HTTP/1.")
        except OSError:
            return False

    def wait_ready(self, tunnel: str, timeout: float) -> str:
        """Return ``http://address:port`` of the workspace once it answers HTTP, and its own probe at the same address.

        An address is given to another pod when its own is gone: so the answer of the probe, which has this tunnel's key, comes last.

        Args:
            timeout: Seconds.

        Raises:
            WorkspaceNotReadyError: It did not in time.
            TunnelEndedError: It has ended.
        """
        waits = pauses(timeout)
        while True:
            address = self._address(tunnel)
            for _ in range(ASKS):
                try:
                    if self._serves(address) and "kept" in Line(address, PROBE_PORT, self._key(tunnel), self._reach).ask({"do": "kept"}, 5):
                        return f"http://{address}:{WORKSPACE_PORT}"
                except WorkspaceUnavailableError:
                    pass
                if not next(waits):
                    raise WorkspaceNotReadyError(f"{tunnel} did not answer within {timeout:g} s")

    # --- inside -----------------------------------------------------------------------------------------------------

    def _key(self, tunnel: str) -> str:
        return hmac.new(self._secret.encode(), f"probe {tunnel}".encode(), hashlib.sha256).hexdigest()

    def _address(self, tunnel: str) -> str:
        return str(self._pod(tunnel)["status"].get("podIP", ""))

    def _probe(self, tunnel: str, seconds: float) -> Line:
        """Return a line to whichever probe runs: the one before the workspace, or the one beside it."""
        return self._speak(tunnel, (PROVE, PROBE), PROBE_PORT, self._key(tunnel), seconds)

    def _speak(self, tunnel: str, names: tuple[str, ...], port: int, key: str, seconds: float) -> Line:
        """Return a line to a program once it runs and says that it is one of ``names``: its first sealed answer will show it.

        Raises:
            SandboxError: It does not run, and why.
            TunnelEndedError: The pod is gone.
        """
        waits = pauses(seconds)
        while True:
            pod = self._pod(tunnel)
            address = str(pod["status"].get("podIP", ""))
            for _ in range(ASKS if address else 1):
                try:
                    if address and (line := Line(address, port, key, self._reach)).role in names:
                        return line
                except WorkspaceUnavailableError:
                    pass
                if pod["status"].get("phase") == "Failed" or not next(waits):
                    raise SandboxError(f"the pod does not come up: {why(self._pod(tunnel))}")
