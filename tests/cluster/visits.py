"""People inside tunnels of a whole installation: one who counts and comes back when cut, and a look at what of a tunnel ends when."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from broker.adapters.kubernetes_api import Api
from sulku import ids
from sulku.errors import ClusterUnavailableError
from tests.cluster.install import Separate
from tests.stories.clustered import Clustered
from tests.stories.person import Lab, Watcher
from tests.stories.story import Story

PATIENCE: Final = 10.0  # seconds for the answer to a cell; then the line is as good as cut
VERDICT: Final = {"verdict": "approve", "reason": ""}


@dataclass
class Site:
    """An installation with the catalogue, where permits are quickly had."""

    at: Clustered
    story: Story
    datasets: dict[str, str] = field(default_factory=dict)

    def permit(self, dataset: str, *people: str, applicant: str = "ada") -> str:
        """Return a fresh permit for one dataset, decided by two stewards."""
        who, today = self.story.who(applicant), datetime.now(UTC).date()
        answers = {
            "title": f"A look at {dataset}", "purpose": "Whether what is measured foretells death, so that people are seen earlier.",
            "basis": "Secondary Use Act 552/2019, section 38", "outputs": "Tables of counts.",
            "people": [self.story.who(one).id for one in people],
            "datasets": [{"dataset": self.datasets[dataset], "version": "1", "variables": ["person", "age"]}],
            "starts": (today - timedelta(days=1)).isoformat(), "ends": (today + timedelta(days=300)).isoformat(),
        }  # fmt: skip
        path = f"/applications/{who.post('/applications', answers)['id']}"
        who.post(f"{path}/submit")
        self.story.who("maria").post(f"{path}/judge", VERDICT)
        return str(self.story.who("bo").post(f"{path}/judge", VERDICT)["permit"])

    def ask(self, name: str, permit: str, minutes: int = 60) -> str:
        """Have somebody ask for a tunnel; return which."""
        return str(self.story.who(name).post("/tunnels", {"permit": permit, "minutes": minutes})["id"])

    def enter(self, name: str, tunnel: str) -> Lab:
        """Have somebody wait for a tunnel, enter it and start a kernel."""
        person = self.story.who(name)
        found = person.wait(f"/tunnels/{tunnel}", "state", "open", "closing", "closed", seconds=150)
        assert found["state"] == "open", f"{found}\n{self.at.tail('broker')}"
        person.sign_in()
        lab = person.enter(tunnel)
        lab.start()
        return lab

    def visit(self, name: str, permit: str, minutes: int = 60) -> Visit:
        """Have somebody open a tunnel and sit in it, with a loop in the kernel."""
        tunnel = self.ask(name, permit, minutes)
        return self.sit(name, tunnel)

    def sit(self, name: str, tunnel: str) -> Visit:
        """Have somebody sit in a tunnel that they asked for."""
        lab = self.enter(name, tunnel)
        watcher = Watcher(lab)
        assert watcher.opened.wait(60), f"nothing is heard of {name}'s kernel"
        return Visit(self.at, lab, watcher)

    def record(self, tunnel: str) -> dict[str, Any]:
        """Return a tunnel's record, as a steward reads it."""
        return dict(self.story.who("maria").get(f"/tunnels/{tunnel}"))

    def entries(self, tunnel: str, kind: str = "") -> list[dict[str, Any]]:
        """Return what the ledger has of a tunnel, oldest first."""
        path = f"/ledger/entries?record={tunnel}&most=500{f'&type={kind}' if kind else ''}"
        return list(reversed(self.story.who("tove").get(path)["entries"]))

    def closed(self, tunnel: str, seconds: float = 60) -> dict[str, Any]:
        """Return the record of a tunnel once its end is recorded."""
        return dict(self.story.who("maria").wait(f"/tunnels/{tunnel}", "state", "closed", seconds=seconds))


@contextmanager
def site(name: str, folder: Path) -> Iterator[Site]:
    """Give an installation on a cluster of its own, with three datasets; the cluster goes with it unless it was up before."""
    cluster = Separate(name)
    stays = cluster.pid("kube-apiserver")
    cluster.up()
    at = Clustered(cluster, folder)
    at.installed.load()  # built before the network is entered, from which no registry is reached
    cluster.join()
    with at:
        story = Story(at)
        yield Site(at, story, at.catalogue())
    if not stays:
        cluster.down()


# --- what ends when ---------------------------------------------------------------------------------------------------


@dataclass
class Ends:
    """Seconds from a moment to each end of one tunnel; negative: before it.

    Attributes:
        recorded: The ending is in the ledger; from here on no ticket is given.
        route: Every gateway refuses the cookie that was good.
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
        pod = at.cluster.get("pod", "workspace", "-n", self.space)
        self.uid = str(pod["metadata"]["uid"])
        self.address = str(pod["status"]["podIP"])
        self.moments: dict[str, datetime] = {}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=one, daemon=True) for one in (self._watch_route, self._watch_pod)]

    def watch(self) -> None:
        """Look from now on."""
        for one in self._threads:
            one.start()

    def works(self) -> bool:
        """Return whether the person is let through to their kernel, and hears from it."""
        return self.lab.request("GET", "/api/kernels").status_code == 200 and self.watcher.closed_at is None

    def runs(self) -> bool:
        """Return whether the node has a process of the pod."""
        for process in Path("/proc").iterdir():
            with suppress(OSError):
                if process.name.isdigit() and self.uid.encode() in (process / "cgroup").read_bytes():
                    return True
        return False

    def _note(self, what: str) -> None:
        self.moments.setdefault(what, datetime.now(UTC))

    def _watch_route(self) -> None:
        """Ask each gateway itself, with the person's cookie, until all refuse."""
        host = self.lab.origin.split("//", 1)[1]
        jar = self.lab.person.web.cookies.jar
        cookies = "; ".join(f"{one.name}={one.value}" for one in jar if host.split(":")[0] == one.domain.lstrip("."))
        doors = [pod["status"]["podIP"] for pod in self.at.installed.pods("gateway")]
        while not self._stop.is_set():
            if not any(passes(door, host, cookies) for door in doors):
                self._note("route")
                return
            time.sleep(0.05)

    def _watch_pod(self) -> None:
        api = Api.connect(str(self.at.cluster.kubeconfig))
        while not self._stop.is_set() and "namespace" not in self.moments:
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


# --- who counts -------------------------------------------------------------------------------------------------------

COUNT: Final = """
import threading, time
done, ticks = [], []
def tick():
    while True:
        ticks.append(time.monotonic()); time.sleep(0.1)
threading.Thread(target=tick, daemon=True).start()
"""
TOLD: Final = """
import json
print(json.dumps([done, max(b - a for a, b in zip(ticks, ticks[1:])), len(ticks)]))
"""


class Counter:
    """Somebody who runs a cell again and again over one websocket, and connects again, as JupyterLab does, when it is closed.

    Attributes:
        sent: Cells that were answered, each once.
        gaps: Seconds from the last answer before a cut to the first after it, one for each time that the socket had to be opened anew.
        slowest: Seconds that the slowest answer of an uncut socket took.
        strange: What should not have happened: refusals to connect other than a door that is being replaced.
    """

    def __init__(self, lab: Lab) -> None:
        lab.run(COUNT)
        self.lab, self.sent, self.slowest = lab, 0, 0.0
        self.gaps: list[float] = []
        self.strange: list[str] = []
        self._stop = threading.Event()
        self._heard = time.monotonic()
        self._cut = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._count()), daemon=True)
        self._thread.start()

    def stop(self) -> tuple[list[int], float]:
        """Stop counting; return the cells as the kernel has them, and the longest pause of a thread in it, in seconds."""
        self._stop.set()
        self._thread.join(60)
        done, pause, _ = json.loads(self.lab.run(TOLD))
        return list(done), float(pause)

    async def _count(self) -> None:
        while not self._stop.is_set():
            try:
                async with self.lab.connected() as (socket, send):
                    if self._cut:
                        await self._find(socket, send)
                    while not self._stop.is_set():
                        await self._cell(socket, send, f"done.append({self.sent})")
                        self.sent += 1
                        await asyncio.sleep(0.2)
            except aiohttp.WSServerHandshakeError as error:
                if error.status < 500:
                    self.strange.append(f"{error.status} {error.message}")
            except (aiohttp.ClientError, OSError, TimeoutError, EOFError):
                pass
            self._cut = not self._stop.is_set()
            await asyncio.sleep(0.2)

    async def _find(self, socket: aiohttp.ClientWebSocketResponse, send: Any) -> None:
        """See whether the cell whose answer was lost has run; who does not know does not run it twice."""
        known = int(await self._cell(socket, send, "print(len(done))"))
        self.sent = known

    async def _cell(self, socket: aiohttp.ClientWebSocketResponse, send: Any, code: str) -> str:
        began = time.monotonic()
        text = await asyncio.wait_for(answer(socket, await send(code)), PATIENCE)
        now = time.monotonic()
        if self._cut:
            self.gaps.append(now - self._heard)
            self._cut = False
        else:
            self.slowest = max(self.slowest, now - began)
        self._heard = now
        return text


async def answer(socket: aiohttp.ClientWebSocketResponse, wanted: str) -> str:
    """Return what a cell printed once it is done; EOFError if the socket ends before."""
    printed: list[str] = []
    idle = replied = False
    async for message in socket:
        said = json.loads(message.data) if message.type is aiohttp.WSMsgType.TEXT else {}
        if said.get("parent_header", {}).get("msg_id") != wanted:
            continue
        if said["msg_type"] == "stream":
            printed.append(said["content"]["text"])
        idle = idle or (said["msg_type"] == "status" and said["content"]["execution_state"] == "idle")
        replied = replied or said["msg_type"] == "execute_reply"
        if idle and replied:
            return "".join(printed)
    raise EOFError("the socket was closed")


def together(jobs: Sequence[Callable[[], Any]], at_once: int = 3) -> list[Any]:
    """Return what each job gives, some at a time: two cores open no more tunnels at once."""
    with ThreadPoolExecutor(at_once) as pool:
        return [one.result() for one in [pool.submit(job) for job in jobs]]


SOCKETS: Final = pytest.mark.filterwarnings("default::ResourceWarning", "default::pytest.PytestUnraisableExceptionWarning")  # kept-alive
