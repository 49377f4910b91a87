"""People inside tunnels of a whole installation, who ask again when nobody has time, and a look at what of a tunnel ends when."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from broker.adapters.kubernetes_api import Api
from broker.gateway.websocket import TRY_AGAIN
from sulku import ids
from sulku.errors import ClusterUnavailableError
from tests.soon import soon
from tests.stories.clustered import Clustered
from tests.stories.installation import PEOPLE
from tests.stories.person import Lab, Patient, Watcher, patiently

VERDICT: Final = {"verdict": "approve", "reason": ""}


@dataclass
class Site:
    """An installation with the catalogue, where permits are quickly had."""

    at: Clustered
    datasets: dict[str, str]
    _people: dict[str, Patient] = field(default_factory=dict)

    def who(self, name: str) -> Patient:
        """Return a signed-in person by their first name."""
        if name not in self._people:
            email = next(email for _, whole, email, _ in PEOPLE if whole.lower().startswith(name))
            self._people[name] = patiently(lambda: Patient(self.at.settings, email, resolve=self.at.installed.resolve))
            self.at.people.append(self._people[name])
        return self._people[name]

    def forget(self) -> None:
        """Have everybody sign in anew."""
        for one in self._people.values():
            one.close()
            self.at.people.remove(one)
        self._people.clear()

    def permit(self, dataset: str, *people: str, applicant: str = "ada") -> str:
        """Return a fresh permit for one dataset, decided by two stewards."""
        who, today = self.who(applicant), datetime.now(UTC).date()
        answers = {
            "title": f"A look at {dataset}", "purpose": "Whether what is measured foretells death, so that people are seen earlier.",
            "basis": "Secondary Use Act 552/2019, section 38", "outputs": "Tables of counts.",
            "people": [self.who(one).id for one in people],
            "datasets": [{"dataset": self.datasets[dataset], "version": "1", "variables": ["person", "age"]}],
            "starts": (today - timedelta(days=1)).isoformat(), "ends": (today + timedelta(days=300)).isoformat(),
        }  # fmt: skip
        path = f"/applications/{who.post('/applications', answers)['id']}"
        who.post(f"{path}/submit")
        self.who("maria").post(f"{path}/judge", VERDICT)
        return str(self.who("bo").post(f"{path}/judge", VERDICT)["permit"])

    def ask(self, name: str, permit: str, minutes: int = 60) -> str:
        """Have somebody ask for a tunnel; return which."""
        return str(self.who(name).post("/tunnels", {"permit": permit, "minutes": minutes})["id"])

    def enter(self, name: str, tunnel: str) -> Lab:
        """Have somebody wait for a tunnel, enter it and start a kernel."""
        person = self.who(name)
        found = person.wait(f"/tunnels/{tunnel}", "state", "open", "closing", "closed", seconds=150)
        assert found["state"] == "open", f"{found}\n{self.at.tail('broker')}"

        def started() -> Lab:
            person.sign_in()
            lab = person.enter(tunnel)
            lab.start()
            return lab

        lab: Lab = patiently(started)
        return lab

    def open(self, name: str, permit: str, minutes: int = 60) -> Lab:
        """Have somebody open a tunnel and start a kernel; one that could not be opened in time is asked for once more."""
        tunnel = self.ask(name, permit, minutes)
        wanted = ("open", "closing", "closed")
        if self.who(name).wait(f"/tunnels/{tunnel}", "state", *wanted, seconds=150)["cause"] == "could-not-open":
            self.closed(tunnel, 120)
            tunnel = self.ask(name, permit, minutes)
        return self.enter(name, tunnel)

    def visit(self, name: str, permit: str, minutes: int = 60) -> Visit:
        """Have somebody open a tunnel and sit in it, with a loop in the kernel."""
        lab = self.open(name, permit, minutes)
        return Visit(self.at, lab, Watcher(lab))

    def record(self, tunnel: str) -> dict[str, Any]:
        """Return a tunnel's record, as a steward reads it."""
        return dict(self.who("maria").get(f"/tunnels/{tunnel}"))

    def entries(self, tunnel: str, kind: str = "") -> list[dict[str, Any]]:
        """Return what the ledger has of a tunnel, oldest first."""
        path = f"/ledger/entries?record={tunnel}&most=500{f'&type={kind}' if kind else ''}"
        return list(reversed(self.who("tove").get(path)["entries"]))

    def verified(self) -> str:
        """Have an operator recompute the ledger; return what was said, which names entries and root."""
        words = ("exec", "deploy/broker", "-c", "broker", "--", "sulku-broker", "verify")
        said = " ".join(self.at.installed.kubectl(*words, check=False, seconds=120).split())
        assert "records agree; root" in said, said
        return said

    def clear(self, *but: str) -> None:
        """End every live tunnel but some, and wait until nothing is left of them: two cores have room for few."""
        maria = self.who("maria")
        for one in maria.get("/tunnels?state=requested&state=proved&state=open"):
            if one["id"] not in but:
                maria.post("/halts", {"scope": "tunnel", "identifier": one["id"], "reason": "The test that made it is over."})
        kept = [ids.label(one) for one in but]
        assert soon(lambda: all(any(name in left for name in kept) for left in self.at.left_behind(0.01))), self.at.left_behind(0.01)

    def closed(self, tunnel: str, seconds: float = 60) -> dict[str, Any]:
        """Return the record of a tunnel once its end is recorded."""
        return dict(self.who("maria").wait(f"/tunnels/{tunnel}", "state", "closed", seconds=seconds))


# --- what ends when ---------------------------------------------------------------------------------------------------


@dataclass
class Ends:
    """Seconds from a moment to each end of one tunnel; negative: before it.

    Attributes:
        recorded: The ending is in the ledger; from here on no ticket is given.
        route: A gateway let the person through for the last time, with the cookie that was good.
        socket: The websocket is closed.
        told: The kubelet is told to end the pod.
        pod: Nothing of the pod runs, says the kubelet.
        namespace: The namespace is gone, with the tunnel's secret and claims; so are its volumes.
    """

    recorded: float = -1.0
    route: float = -1.0
    socket: float = -1.0
    told: float = -1.0
    pod: float = -1.0
    namespace: float = -1.0

    def __str__(self) -> str:
        return "  ".join(f"{name} {getattr(self, name):5.2f}" for name in ("recorded", "route", "socket", "pod", "namespace"))


class Visit:
    """Somebody who sits in a tunnel, and what is seen of its end from outside."""

    def __init__(self, at: Clustered, lab: Lab, watcher: Watcher) -> None:
        self.at, self.lab, self.watcher = at, lab, watcher
        self.tunnel, self.space = lab.tunnel, ids.label(lab.tunnel)
        self.pod = at.cluster.get("pod", "workspace", "-n", self.space)
        self.moments: dict[str, datetime] = {}
        self._stop, self._until = threading.Event(), time.monotonic() + 1800  # also of a test that failed there is an end
        self._threads = [threading.Thread(target=one, daemon=True) for one in (self._watch_route, self._watch_pod)]

    def watch(self) -> None:
        """Look from now on; returns once the person was let through."""
        for one in self._threads:
            one.start()
        assert soon(lambda: "route" in self.moments), "nobody lets them through, before anything ends"

    def works(self, seconds: float = 15) -> bool:
        """Return whether the person is let through to their kernel, sooner or later, over the socket that they had.

        One that was closed because the broker had no time (TRY_AGAIN) is opened anew, as JupyterLab does; any other end is one.
        """
        if self.watcher.closed_at is not None and self.watcher.code == TRY_AGAIN:
            self.watcher = Watcher(self.lab)
        if self.watcher.closed_at is not None:
            print(f"{self.tunnel}: the socket was closed at {self.watcher.closed_at:%H:%M:%S} with {self.watcher.code}", flush=True)
            return False
        return soon(lambda: self.lab.request("GET", "/api/kernels").status_code == 200, seconds)

    def runs(self) -> bool:
        """Return whether the node runs anything of the pod, whatever Kubernetes believes."""
        return self.at.cluster.lives(self.pod)

    def _looks(self) -> bool:
        return not self._stop.is_set() and "namespace" not in self.moments and time.monotonic() < self._until

    def _note(self, what: str) -> None:
        self.moments.setdefault(what, datetime.now(UTC))

    def _watch_route(self) -> None:
        """Ask each gateway itself, with the person's cookie, and keep when it last let them through."""
        host = self.lab.origin.split("//", 1)[1]
        jar = self.lab.person.web.cookies.jar
        cookies = "; ".join(f"{one.name}={one.value}" for one in jar if host.split(":")[0] == one.domain.lstrip("."))

        def ask(door: str) -> None:
            while self._looks():
                if passes(door, host, cookies):
                    self.moments["route"] = datetime.now(UTC)
                time.sleep(0.1)

        together([lambda door=pod["status"]["podIP"]: ask(door) for pod in self.at.installed.pods("gateway")])

    def _watch_pod(self) -> None:
        api = Api.connect(str(self.at.cluster.kubeconfig))
        while self._looks():
            with suppress(ClusterUnavailableError):
                self._look(api)
            time.sleep(0.05)

    def _look(self, api: Api) -> None:
        pod = api.find("Pod", "workspace", self.space) if "pod" not in self.moments else None
        if pod is not None and "deletionTimestamp" in pod["metadata"]:
            self._note("told")
        if pod is None or pod["status"].get("phase") in {"Failed", "Succeeded"}:
            self._note("pod")
            if api.find("Namespace", self.space) is None and not list(api.every("PersistentVolume", f"sulku.internal/tunnel={self.space}", whole=False)):
                self._note("namespace")

    def ends(self, since: datetime, recorded: datetime | None = None, seconds: float = 60) -> Ends:
        """Wait until nothing is left, and return when each thing ended, in seconds after ``since``."""
        until = time.monotonic() + seconds
        self.watcher.wait(seconds)
        for one in self._threads:
            one.join(max(0.1, until - time.monotonic()))
        self._stop.set()
        assert self.watcher.closed_at is not None, "the socket is open still"
        missing = {"route", "pod", "namespace"} - set(self.moments)
        assert not missing, f"{self.tunnel}: {missing} not ended after {seconds} s: {self.at.tail('worker')}"
        found = {**self.moments, "socket": self.watcher.closed_at, **({"recorded": recorded} if recorded else {})}
        return Ends(**{name: (moment - since).total_seconds() for name, moment in found.items()})

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()


def passes(door: str, host: str, cookies: str) -> bool:
    """Return whether the gateway at an address lets somebody with ``cookies`` through to ``host``'s kernels."""
    with suppress(OSError, http.client.HTTPException), closing(http.client.HTTPConnection(door, 8081, timeout=3)) as line:
        line.request("GET", "/api/kernels", headers={"Host": host, "Cookie": cookies})
        return line.getresponse().status == 200
    return False


def together(jobs: Sequence[Callable[[], Any]], at_once: int = 3) -> list[Any]:
    """Return what each job gives, some at a time: two cores open no more tunnels at once."""
    with ThreadPoolExecutor(at_once) as pool:
        return [one.result() for one in [pool.submit(job) for job in jobs]]


SOCKETS: Final = pytest.mark.filterwarnings("default::ResourceWarning", "default::pytest.PytestUnraisableExceptionWarning")  # kept-alive
