"""Whoever ends a tunnel, ends it in seconds and in order, on a real cluster; what was destroyed is on record, and nobody else notices.

Each test prints how long everything took (`-s`); docs/explanation/four-clocks.md has the figures of a quiet machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cluster.installed.visits import SOCKETS, Ends, Site, Visit, together
from tests.soon import SECONDS
from tests.stories.person import RefusedByApi

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900, func_only=True), SOCKETS]

CUT, DEAD, GONE = 10.0, 30.0, 60.0  # seconds, on a machine that others use too: nobody inside; nothing runs; nothing is left
WHY = "Something was found that should not be there."
drawn = pytest.mark.draw(2, "halts")


@dataclass
class Neighbour:
    """Ilo, whom nothing here concerns: another permit, another dataset."""

    here: Site
    permit: str
    visit: Visit | None = None

    def __call__(self) -> Visit:
        """Return him at work."""
        if self.visit is None or self.here.record(self.visit.tunnel)["state"] != "open":
            self.visit = self.here.visit("ilo", self.permit)
        return self.visit


@pytest.fixture(scope="module")
def neighbour(here: Site) -> Iterator[Neighbour]:
    yield Neighbour(here, here.permit("whas500", "ilo", applicant="ilo"))
    here.clear()  # he goes last: whoever comes next finds nobody inside


@pytest.fixture(autouse=True)
def alone(here: Site, neighbour: Neighbour) -> Iterator[None]:
    """Have every test begin with nobody but Ilo inside."""
    yield
    here.clear(*([neighbour.visit.tunnel] if neighbour.visit else []))


def watched(here: Site, what: str, visits: list[Visit], do: Callable[[], Any]) -> list[Ends]:
    """Do something that ends ``visits``; return and print when each thing ended, and require order, haste and a record."""
    for one in visits:
        assert one.works()
        assert one.runs()
        one.watch()
    began = datetime.now(UTC)
    do()
    answered = (datetime.now(UTC) - began).total_seconds()
    found = []
    for one in visits:
        closing = here.entries(one.tunnel, "tunnel.closing")
        recorded = datetime.fromisoformat(closing[0]["at"])
        ends = one.ends(began, recorded)
        print(f"{what:22} answered {answered:5.2f}  {ends}", flush=True)
        assert not one.runs(), "the node has a process of the pod"
        assert ends.recorded <= ends.socket, "somebody was thrown out before that was on record"
        assert max(ends.route, ends.socket) <= ends.pod <= ends.namespace, "the doors were open when the pod was gone"
        assert max(ends.route, ends.socket) <= CUT
        assert ends.pod <= DEAD
        assert ends.namespace <= GONE
        found.append(ends)
    return found


def destroyed(here: Site, visit: Visit, cause: str) -> dict[str, Any]:
    """Return a tunnel's record, closed for ``cause``, with what the ledger says was destroyed."""
    record = here.closed(visit.tunnel)
    assert record["cause"] == cause
    ended = here.entries(visit.tunnel, "tunnel.ended")
    assert len(ended) == 1
    said = ended[0]["body"]
    assert (said["processes_left"], said["mounts_left"], said["clock"]) == (0, 0, "stopped")
    return record


@drawn
def test_who_closes_their_tunnel_early_is_out_at_once_and_nobody_else_is(here: Site, neighbour: Neighbour) -> None:
    ilo, visit = neighbour(), here.visit("ada", here.permit("flchain", "ada"))
    watched(here, "closed by its person", [visit], lambda: here.who("ada").post(f"/tunnels/{visit.tunnel}/close"))
    destroyed(here, visit, "closed-by-person")
    assert ilo.works()


@drawn
@pytest.mark.parametrize("scope", ["tunnel", "person", "permit", "dataset"])
def test_a_steward_halts_exactly_what_they_name(here: Site, neighbour: Neighbour, scope: str) -> None:
    ilo = neighbour()
    first, second = here.permit("flchain", "ada", "aki", "eva"), here.permit("gbsg2", "eva") if scope == "person" else ""
    eva = here.who("eva")
    who = {"tunnel": ["aki"], "person": ["eva", "eva"], "permit": ["ada", "aki"], "dataset": ["ada", "aki"]}[scope]
    permits = [first, second or first] if scope != "dataset" else [first, here.permit("flchain", "aki", applicant="aki")]
    visits = together([lambda name=name, permit=permit: here.visit(name, permit) for name, permit in zip(who, permits, strict=False)])
    identifier = {"tunnel": visits[0].tunnel, "person": eva.id, "permit": first, "dataset": here.datasets["flchain"]}[scope]
    asked = {"scope": scope, "identifier": identifier, "reason": WHY}
    answers: list[Any] = []
    watched(here, f"halt: {scope}", visits, lambda: answers.append(here.who("maria").post("/halts", asked)))
    assert sorted(answers[0]["tunnels"]) == sorted(one.tunnel for one in visits)
    for one in visits:
        assert destroyed(here, one, "halted-by-steward")["detail"] == WHY
    assert ilo.works(), "somebody else was halted"


@drawn
def test_a_steward_halts_everything(here: Site, neighbour: Neighbour) -> None:
    ilo, ada = neighbour(), here.visit("ada", here.permit("flchain", "ada"))
    asked = {"scope": "everything", "identifier": "", "reason": WHY}
    watched(here, "halt: everything", [ilo, ada], lambda: here.who("bo").post("/halts", asked))
    for one in (ilo, ada):
        destroyed(here, one, "halted-by-steward")
    assert here.at.left_behind() == []


@drawn
@pytest.mark.parametrize("verb", ["suspend", "revoke"])
def test_a_permit_that_is_stopped_takes_its_tunnels_with_it(here: Site, neighbour: Neighbour, verb: str) -> None:
    ilo, permit = neighbour(), here.permit("flchain", "ada")
    visit = here.visit("ada", permit)
    watched(here, f"permit: {verb}", [visit], lambda: here.who("maria").post(f"/permits/{permit}/{verb}", {"reason": WHY}))
    destroyed(here, visit, "permit-ended")
    with pytest.raises(RefusedByApi):
        here.ask("ada", permit)
    assert ilo.works()


def test_nobody_but_a_steward_who_says_why_halts_anything(here: Site, neighbour: Neighbour) -> None:
    ilo = neighbour()
    whole = {"scope": "everything", "identifier": "", "reason": WHY}
    for name, asked in (("ada", whole), ("olli", whole), ("tove", whole), ("maria", {**whole, "reason": "why?"}), ("maria", {**whole, "scope": "all"})):
        with pytest.raises(RefusedByApi):
            here.who(name).post("/halts", asked)
    assert ilo.works()


# --- the clocks, each alone -------------------------------------------------------------------------------------------


def until(moment: datetime) -> None:
    """Return at ``moment``."""
    time.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()))


def due(here: Site, visit: Visit) -> datetime:
    """Return a tunnel's deadline."""
    return datetime.fromisoformat(here.record(visit.tunnel)["deadline"])


def node(here: Site, do: str) -> None:
    """Have the node's kubelet killed or started: the one that would end a pod, by its own clock or because it is told."""
    getattr(here.at.cluster, do)("kubelet")


@drawn
def test_the_gateways_alone_let_nobody_in_after_the_deadline(here: Site) -> None:
    """The broker, the worker and the kubelet are dead: the pod lives on, and no byte reaches it or comes from it."""
    visit = here.visit("aki", here.permit("gbsg2", "aki", applicant="aki"), minutes=3)
    deadline = due(here, visit)
    assert visit.works()
    until(deadline - timedelta(seconds=25))  # not sooner: without a broker a socket lives on the budget that was leased, and no longer
    visit.watch()
    for part in ("worker", "broker"):
        here.at.kill(part)  # from here on no request gets through, as no record is fresh: only the socket is left to cut
    until(deadline - timedelta(seconds=2))
    node(here, "kill")
    try:
        assert visit.watcher.closed_at is None
        visit.watcher.wait(15)
        until(deadline + timedelta(seconds=5))
        route, socket = visit.moments.get("route"), visit.watcher.closed_at
        assert visit.runs(), "something else ended the pod: this shows nothing of the gateways"
    finally:
        node(here, "start")
        here.at.start("broker")
        here.at.installed.kubectl("scale", "deploy/worker", "--replicas=1")
    assert route is not None, "a gateway lets somebody in after the deadline"
    assert socket is not None, "a websocket outlives the deadline"
    route_after, socket_after = ((moment - deadline).total_seconds() for moment in (route, socket))
    ends = visit.ends(deadline, seconds=150)
    print(f"{'gateways alone':22} route {route_after:5.2f}  socket {socket_after:5.2f}; back: {ends}", flush=True)
    assert -1.0 <= socket_after <= SECONDS
    assert route_after <= SECONDS
    assert here.closed(visit.tunnel, 150)["cause"] == "deadline"
    here.at.installed.wait(600)


@drawn
def test_the_worker_alone_ends_a_tunnel_at_its_deadline(here: Site) -> None:
    """The gateways are dead, and the kubelet's own clock with it: what the worker wants is on record, and waits for the node."""
    visit = here.visit("eva", here.permit("gbsg2", "eva", applicant="eva"), minutes=3)
    deadline = due(here, visit)
    visit.watch()
    until(deadline - timedelta(seconds=25))
    here.at.kill("gateway")
    until(deadline - timedelta(seconds=2))
    node(here, "kill")
    try:
        until(deadline + timedelta(seconds=6))
        assert visit.runs(), "the kubelet is not dead"
        assert "told" in visit.moments, "the worker told nobody to end the pod"
    finally:
        back = datetime.now(UTC)
        node(here, "start")
        here.at.start("gateway")
    ends = visit.ends(deadline, seconds=90)
    recorded = (datetime.fromisoformat(here.entries(visit.tunnel, "tunnel.closing")[0]["at"]) - deadline).total_seconds()
    after = ends.pod - (back - deadline).total_seconds()
    print(f"{'worker alone':22} recorded {recorded:5.2f}  pod told {ends.told:5.2f}; dead {after:5.2f} after the kubelet was back", flush=True)
    assert 0 <= recorded <= 5
    assert 0 <= ends.told <= 6
    assert here.closed(visit.tunnel)["cause"] == "deadline"
