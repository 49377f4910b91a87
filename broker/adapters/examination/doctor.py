"""The examination of one cluster, in its order; whatever it made is removed, also when it is interrupted."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from kubernetes.client.exceptions import ApiException

from broker.adapters.examination.kernel import STEP, Nodes
from broker.adapters.examination.network import Network
from broker.adapters.examination.rules import Rules
from broker.adapters.examination.ward import Eyes, Ward
from broker.adapters.kubernetes import FILTERS
from sulku import ids
from sulku.errors import SulkuError
from sulku.manifests import POD, Place
from sulku.rehearsal import CANARY, SECONDS, Rehearsal
from sulku.soundness import CHECKS, Finding, Verdict, finding

OLDEST: Final = (1, 30)  # of Kubernetes: ValidatingAdmissionPolicy is stable, containers beside the pod's own are on
STALE: Final = timedelta(seconds=2 * SECONDS)  # after which what a doctor made is nobody's
GATEWAY: Final = {"app.kubernetes.io/component": "gateway"}  # where the real one has no namespace yet


@dataclass(frozen=True, slots=True)
class Subject:
    """Which cluster, and how tunnels are set up on it.

    Attributes:
        place: What the operator decided for all tunnels.
        home: Namespace of our own parts.
        worker: Name of the worker's account there.
        program: Text of ``hub/images/poddoctor.py``.
        sample: What fills the braces of ``place.datasets`` for one dataset whose volume is to be tried; empty tries none.
    """

    place: Place
    home: str
    program: str = field(repr=False)
    worker: str = "worker"
    sample: Mapping[str, str] = field(default_factory=dict)


class Doctor:
    """One run. Everything is tried as whoever we are; a tunnel's own objects are made as the worker, where we may."""

    def __init__(
        self,
        api: Eyes,
        subject: Subject,
        *,
        now: Callable[[], datetime],
        say: Callable[[str], None] = lambda _: None,
        tell: Callable[[Finding], None] = lambda _: None,
    ) -> None:
        """Keep them; nothing happens yet.

        Args:
            say: Told what is being done, at least every few seconds.
            tell: Told each finding at once.
        """
        self._api, self._subject, self._now, self._tell = api, subject, now, tell
        self._plan = Rehearsal(ids.new("tun"), subject.place, subject.program, now(), FILTERS, subject.sample)
        self._ward = Ward(api, self._plan.run, say)
        self._network = Network(self._ward, self._plan)
        self._nodes = Nodes(self._ward, self._plan, now)
        self._rules = Rules(self._ward, self._plan, home=subject.home, worker=subject.worker)
        self.findings: list[Finding] = []
        self.leaving = False  # what it made is being removed

    def examine(self) -> list[Finding]:
        """Try everything and return what came of it; what could not be tried is unknown.

        Raises:
            BaseException: Whatever interrupts it, after everything that it made was removed.
        """
        self._row("api-server", self._version)
        if self.findings[0].verdict is not Verdict.OK:
            return self._rest("the API server does not answer as it should")
        self._row("clock-server", self._clock)
        try:
            self._prepare()
            self._look()
        finally:
            self._row("clean-up", self._clean_up)
        return self._rest("not tried")

    def _look(self) -> None:
        """Go through the rows, the longest waits last."""
        nodes, network, rules = self._nodes, self._network, self._rules
        if not self._row("control", self._begin):
            return
        if self._row("tunnel", self._open):
            self._rows(("policy-delay",), lambda: iter([network.delay()]))
            self._rows(tuple(CHECKS)[4:13], network.egress)
            self._rows(("ingress", "gateway"), self._ingress)
            self._row("runtime-class", nodes.runtime)
            self._rows(("read-only", "dataset"), nodes.volumes)
            self._row("pod-security", rules.pod_security)
            self._row("guard-entry", rules.entry)
            self._row("guard-pods", rules.pods)
            self._row("clock-pods", nodes.clocks)
        self._row("quota", rules.quota)
        self._row("worker-rights", rules.worker_rights)
        self._row("other-rights", rules.other_rights)
        self._row("deadline", nodes.deadline)
        self._row("user-namespace", nodes.users)

    # --- rows -------------------------------------------------------------------------------------------------------

    def _row(self, name: str, attempt: Callable[[], Finding]) -> bool:
        """Keep what came of one check and return whether it is ok."""
        self._rows((name,), lambda: iter([attempt()]))
        return self.findings[-1].verdict is Verdict.OK

    def _rows(self, names: tuple[str, ...], attempt: Callable[[], Iterator[Finding]]) -> None:
        """Keep what came of some checks; those that an error kept from being tried are unknown."""
        self._ward.say(CHECKS[names[0]].attack)
        known = len(self.findings)
        try:
            for one in attempt():
                self._keep(one)
        except (SulkuError, ApiException, OSError, KeyError, LookupError, ValueError) as error:
            said = str(getattr(error, "body", "") or error) if not isinstance(error, KeyError) else f"no {error} in an answer"
            done = {one.check for one in self.findings[known:]}
            verdict = Verdict.NO if names[0] in {"api-server", "control", "tunnel"} else Verdict.UNKNOWN
            for name in names:
                if name not in done:
                    self._keep(finding(name, verdict, said[:400]))

    def _keep(self, one: Finding) -> None:
        self.findings.append(one)
        self._tell(one)

    def _rest(self, why: str) -> list[Finding]:
        """Add what was not tried, but for the ledger, which is not the cluster's."""
        done = {one.check for one in self.findings}
        for name in CHECKS:
            if name not in done and name != "ledger":
                self._keep(finding(name, Verdict.UNKNOWN, why))
        return self.findings

    # --- the server, and what is made -------------------------------------------------------------------------------

    def _version(self) -> Finding:
        found = self._api.call("GET", "/version")
        number = tuple(int(re.sub(r"\D", "", found[part])) for part in ("major", "minor"))
        verdict = Verdict.OK if number >= OLDEST else Verdict.NO
        return finding("api-server", verdict, f"Kubernetes {found['gitVersion']}; {'.'.join(map(str, OLDEST))} is the oldest that will do")

    def _clock(self) -> Finding:
        began, clock = time.monotonic(), self._now()
        _, date = self._api.text("/version", {})
        spent = (time.monotonic() - began) / 2
        ahead = (date - clock).total_seconds() + 0.5 - spent  # the header is cut to whole seconds
        verdict = Verdict.OK if abs(ahead) <= STEP else Verdict.NO
        return finding("clock-server", verdict, f"{ahead:+.1f} s from ours (± {0.5 + spent:.1f} s), {STEP:g} s are allowed")

    def _prepare(self) -> None:
        """Find out whether we may act as the worker, and remove what doctors left who were killed."""
        account = f"system:serviceaccount:{self._subject.home}:{self._subject.worker}"
        if self._api.find_account(self._subject.home, self._subject.worker) and self._may_be(self._subject.worker):
            self._ward.worker = self._api.as_account(account)
        self._ward.say(f"run {self._plan.run}: objects of a tunnel are made {'as the worker' if self._ward.worker is not self._api else 'as ourselves'}")
        stale = [(kind, one) for kind, one in self._ward.left() if self._age(one["metadata"]["creationTimestamp"]) > STALE]
        self._ward.remove(stale)

    def _age(self, stamp: str) -> timedelta:
        return self._now() - datetime.fromisoformat(stamp)

    def _may_be(self, name: str) -> bool:
        attributes = {"verb": "impersonate", "resource": "serviceaccounts", "namespace": self._subject.home, "name": name}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes}}
        return bool(self._api.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)["status"].get("allowed"))

    def _begin(self) -> Finding:
        """Make the bystanders that need nothing else, and show that the control works."""
        plan, ward = self._plan, self._ward
        if self._api.find("Namespace", plan.place.gateway[0]) is None:
            self._plan = plan = replace(plan, place=replace(plan.place, gateway=(plan.outside, GATEWAY)))
            self._network.plan = self._nodes.plan = self._rules.plan = plan
        canary = {"listen": [CANARY], "datagrams": [CANARY]}
        ward.make([plan.namespace(plan.outside), plan.namespace(plan.bounded), *plan.quotas()])
        ward.make([
            plan.bystander("canary", canary, sandboxed=False),
            plan.bystander("users", {}, hostUsers=False),
            plan.bystander("short", {}, activeDeadlineSeconds=2),
        ])  # fmt: skip
        met = ward.started(plan.outside, "canary")
        self._network.meet(met, ward.first(plan.outside, "canary", "start"))
        ward.make([plan.bystander("control", {"targets": self._network.targets()})])
        ward.started(plan.outside, "control")
        return self._network.control()

    def _open(self) -> Finding:
        """Make the tunnel, all of it, and wait until its three containers have had their turn."""
        plan, ward = self._plan, self._ward
        objects = plan.tunnel_objects({"targets": self._network.targets()}, (self._network.canary, CANARY))
        ward.make(objects, ward.worker)
        ward.started(plan.inside, POD)
        ward.first(plan.inside, POD, "start")
        by = "the worker" if ward.worker is not self._api else "ourselves"
        return finding("tunnel", Verdict.OK, f"{len(objects)} objects made as {by}, its pod runs on {ward.pod(plan.inside, POD)['spec']['nodeName']}")

    def _ingress(self) -> Iterator[Finding]:
        """Make a stranger and a pod that is labelled as the gateway, and have both dial the tunnel."""
        plan, ward = self._plan, self._ward
        told = {"targets": self._network.callers(str(ward.pod(plan.inside, POD)["status"]["podIP"]))}
        home, labels = plan.place.gateway
        ward.make([plan.bystander("stranger", told), plan.bystander(self._network.gateway, told, space=home, labels=labels)])
        ward.started(plan.outside, "stranger")
        ward.started(home, self._network.gateway)
        yield from self._network.ingress()

    def _clean_up(self) -> Finding:
        self.leaving = True
        self._ward.remove(self._ward.left(self._plan.run))
        left = self._ward.cleared()
        return finding("clean-up", Verdict.NO if left else Verdict.OK, f"left: {', '.join(left)}" if left else "all of it is gone")
