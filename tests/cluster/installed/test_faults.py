"""Whatever part is killed at whatever step of opening and closing: nothing is left over, nothing lives too long, nothing is unrecorded.

Nor does a person lose a tunnel by it: one that was opening opens, and one that was open stays so.

The table is parts × moments; a run draws some rows of it, `make test-full` takes all.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final

import pytest

from sulku import ids
from tests.cluster.installed.visits import SOCKETS, Site

PARTS: Final = ("broker", "worker", "hub", "gateway", "opa", "redis", "postgres", "kubelet", "kube-apiserver")
OURS: Final = PARTS[:7]
NODE: Final = PARTS[7:]  # of the cluster itself
MOMENTS: Final = ("asked", "namespace", "running", "proved", "open", "ending", "dead", "deadline")
LATE: Final = 5.0  # seconds after its deadline at which no pod lives
BACK: Final = 5.0  # seconds more where the node itself was killed: what comes back looks for its pods first
PATIENCE: Final = 150.0  # seconds for everything to be in order again
pytestmark = [pytest.mark.slow, pytest.mark.timeout(500, func_only=True), SOCKETS]


class Table:
    """An installation whose parts are killed, and Ada, who opens a tunnel for each row."""

    def __init__(self, here: Site) -> None:
        self.here, self.at = here, here.at
        self.permit = here.permit("flchain", "ada")

    def ask(self, minutes: int = 30) -> str:
        return self.here.ask("ada", self.permit, minutes)

    def close(self, tunnel: str) -> None:
        self.here.who("ada").post(f"/tunnels/{tunnel}/close")

    def pod(self, tunnel: str) -> str:
        """Return the phase of a tunnel's pod, empty if there is none or nobody can tell."""
        words = ("get", "pod", "workspace", "-n", ids.label(tunnel), "--ignore-not-found", "-o", "jsonpath={.status.phase}")
        said = self.at.cluster.kubectl(*words, check=False)
        return said if said in {"Pending", "Running", "Succeeded", "Failed"} else ""

    def namespace(self, tunnel: str) -> bool:
        return self.at.cluster.kubectl("get", "ns", ids.label(tunnel), "--ignore-not-found", "-o", "name", check=False).startswith("namespace/")

    # --- faults -----------------------------------------------------------------------------------------------------

    def kill(self, part: str) -> None:
        """Kill -9: a component of the node, or every container of a part of ours. Kubernetes, or the test, has it back."""
        if part in NODE:
            self.at.cluster.kill(part)
            time.sleep(1)
            self.at.cluster.start(part)
            return
        self.at.installed.kill(part)


def reached(table: Table, tunnel: str, moment: str) -> bool:
    """Return whether ``tunnel`` has come to a moment of its life."""
    match moment:
        case "namespace":
            return table.namespace(tunnel)
        case "running":
            return table.pod(tunnel) == "Running" or table.here.record(tunnel)["state"] != "requested"
        case "proved":
            return table.here.record(tunnel)["state"] != "requested"
        case "open":
            return table.here.record(tunnel)["state"] in {"open", "closing", "closed"}
        case "dead":
            return not table.pod(tunnel)
    return True


def until(table: Table, tunnel: str, *moments: str, seconds: float = 120) -> None:
    """Return once ``tunnel`` has come to each of ``moments`` in turn."""
    end = time.monotonic() + seconds
    for moment in moments:
        while not reached(table, tunnel, moment):
            assert time.monotonic() < end, f"{tunnel} did not come as far as {moment}: {table.at.tail('worker')}"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def table(here: Site) -> Table:
    return Table(here)


@pytest.mark.draw(2)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_killed_leaves_nothing_over_and_nothing_unrecorded(table: Table, part: str, moment: str) -> None:
    began = time.monotonic()
    said = survives(table, part, moment)
    print(f"kill -9 {part:15} at {moment:10} {time.monotonic() - began:5.0f} s  {said}", flush=True)
    table.at.installed.wait()
    table.here.verified()


def survives(table: Table, part: str, moment: str) -> str:
    """Kill ``part`` at ``moment`` of a tunnel's life, see everything come into order, and return how it went."""
    if moment == "deadline":
        return ends_in_time(table, part)
    tunnel = table.ask()
    before_end = ("ending", "dead")
    until(table, tunnel, "open" if moment in before_end else moment)
    if moment in before_end:
        table.close(tunnel)
        until(table, tunnel, moment)
    table.kill(part)
    return in_order(table, tunnel, opens=moment not in before_end)


def ends_in_time(table: Table, part: str) -> str:
    """Kill ``part`` just before a deadline; the pod is dead in time all the same."""
    tunnel = table.ask(minutes=2)
    until(table, tunnel, "open", seconds=100)
    if (state := table.here.record(tunnel)["state"]) != "open":
        return f"{state} before its deadline; {in_order(table, tunnel)}"
    due = datetime.fromisoformat(table.here.record(tunnel)["deadline"])
    pod = table.at.cluster.get("pod", "workspace", "-n", ids.label(tunnel))
    assert table.at.cluster.lives(pod), "an open tunnel runs"
    time.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds() - 2))
    table.kill(part)
    while table.at.cluster.lives(pod):
        assert (datetime.now(UTC) - due).total_seconds() < LATE + BACK * (part in NODE), "the pod lives past its deadline"
        time.sleep(0.1)
    late = (datetime.now(UTC) - due).total_seconds()
    return f"dead after {late:.1f} s; {in_order(table, tunnel, over=True)}"


def in_order(table: Table, tunnel: str, *, opens: bool = False, over: bool = False) -> str:
    """Wait until ``tunnel`` is open and works, or is over and recorded; close it, and see that nothing is left of it.

    One that ``opens`` must be open, and one that is ``over`` must not.
    """
    end = time.monotonic() + PATIENCE
    while (state := table.here.record(tunnel)["state"]) not in ({"closed"} if over else {"open", "closed"}):
        assert time.monotonic() < end, f"{tunnel} is {state}: {table.at.tail('worker')}"
        time.sleep(0.5)
    assert state == "open" or not opens, f"{table.here.record(tunnel)}: {table.at.tail('worker')}"
    if state == "open":
        assert "42" in table.here.enter("ada", tunnel).run("print(6 * 7)"), "a tunnel that is said to be open does not work"
        table.close(tunnel)
    found = table.here.closed(tunnel, PATIENCE)
    left = table.at.left_behind(90)
    assert left == [], f"left over: {left}"
    return f"{'was open; ' if state == 'open' else ''}{found['cause']}"
