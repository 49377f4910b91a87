"""Whatever part is killed at whatever step of opening and closing: nothing is left over, nothing lives too long, nothing is unrecorded.

The table is parts × moments. A run draws some rows by the seed that it prints (`Using --randomly-seed`); `SULKU_EVERY=1` takes all.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import httpx2
import pytest

from sulku import ids
from tests.cluster.install import Separate
from tests.stories.clustered import Clustered
from tests.stories.person import RefusedByApi
from tests.stories.story import Story

EVERY: Final = bool(os.environ.get("SULKU_EVERY"))
ROWS: Final = 3  # that a run draws of the table
PARTS: Final = ("broker", "worker", "hub", "gateway", "opa", "redis", "postgres", "kubelet", "kube-apiserver")
OURS: Final = PARTS[:7]
NODE: Final = PARTS[7:]  # of the cluster itself
MOMENTS: Final = ("asked", "namespace", "running", "proved", "open", "ending", "dead", "deadline")
LATE: Final = 5.0  # seconds after its deadline at which no pod lives
PATIENCE: Final = 150.0  # seconds for everything to be in order again
pytestmark = pytest.mark.slow


@dataclass
class Site:
    """An installation with a permit, and people who try again while a part is away."""

    at: Clustered
    story: Story
    opened: list[str] = field(default_factory=list)

    def patiently(self, ask: Callable[[], Any], seconds: float = PATIENCE) -> Any:
        """Return what ``ask`` gives once nothing of ours is away."""
        until = time.monotonic() + seconds
        while True:
            try:
                return ask()
            except (RefusedByApi, httpx2.HTTPError, ValueError) as error:
                away = not isinstance(error, RefusedByApi) or int(error.problem.get("status", 500)) >= 500
                if not away or time.monotonic() > until:
                    raise
                time.sleep(0.5)

    def ask(self, minutes: int = 30) -> str:
        asked = {"permit": self.story.permit, "minutes": minutes}
        tunnel = str(self.patiently(lambda: self.story.who("ada").post("/tunnels", asked))["id"])
        self.opened.append(tunnel)
        return tunnel

    def record(self, tunnel: str) -> dict[str, Any]:
        return dict(self.patiently(lambda: self.story.who("ada").get(f"/tunnels/{tunnel}")))

    def close(self, tunnel: str) -> None:
        self.patiently(lambda: self.story.who("ada").post(f"/tunnels/{tunnel}/close"))

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


def reached(site: Site, tunnel: str, moment: str) -> bool:
    """Return whether ``tunnel`` has come to a moment of its life."""
    match moment:
        case "namespace":
            return site.namespace(tunnel)
        case "running":
            return site.pod(tunnel) == "Running" or site.record(tunnel)["state"] != "requested"
        case "proved":
            return site.record(tunnel)["state"] != "requested"
        case "open":
            return site.record(tunnel)["state"] in {"open", "closing", "closed"}
        case "dead":
            return not site.pod(tunnel)
    return True


def until(site: Site, tunnel: str, *moments: str, seconds: float = 120) -> None:
    """Return once ``tunnel`` has come to each of ``moments`` in turn."""
    end = time.monotonic() + seconds
    for moment in moments:
        while not reached(site, tunnel, moment):
            assert time.monotonic() < end, f"{tunnel} did not come as far as {moment}: {site.at.tail('worker')}"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    cluster = Separate("story")
    cluster.up()
    at = Clustered(cluster, tmp_path_factory.mktemp("node"))
    at.installed.load()
    cluster.join()
    with at:
        story = Story(at)
        story.catalogue()
        story.apply()
        yield Site(at, story)


def rows() -> list[tuple[str, str]]:
    """Return every row of the table."""
    return list(itertools.product(PARTS, MOMENTS))


def drawn(request: pytest.FixtureRequest) -> list[tuple[str, str]]:
    """Return the rows of this run."""
    seed = request.config.getoption("randomly_seed", 0)
    return rows() if EVERY else random.Random(f"{seed} faults").sample(rows(), ROWS)


@pytest.mark.timeout(9000 if EVERY else 900, func_only=True)
def test_a_part_that_is_killed_leaves_nothing_over_and_nothing_unrecorded(site: Site, request: pytest.FixtureRequest) -> None:
    failures = []
    for part, moment in drawn(request):
        began = time.monotonic()
        try:
            said = survives(site, part, moment)
        except AssertionError as error:
            said = f"FAILED: {error}"
            failures.append(f"{part} at {moment}: {error}")
        print(f"kill -9 {part:15} at {moment:10} {time.monotonic() - began:5.0f} s  {said}", flush=True)
    assert not failures, "\n".join(failures)
    assert "intact" in site.at.operator("verify").lower()


def survives(site: Site, part: str, moment: str) -> str:
    """Kill ``part`` at ``moment`` of a tunnel's life, see everything come into order, and return how it went."""
    if moment == "deadline":
        return ends_in_time(site, part)
    tunnel = site.ask()
    before_end = ("ending", "dead")
    until(site, tunnel, "open" if moment in before_end else moment)
    if moment in before_end:
        site.close(tunnel)
        until(site, tunnel, moment)
    site.kill(part)
    return in_order(site, tunnel)


def ends_in_time(site: Site, part: str) -> str:
    """Kill ``part`` just before a deadline; the pod is dead in time all the same."""
    tunnel = site.ask(minutes=2)
    until(site, tunnel, "open", seconds=100)
    if (state := site.record(tunnel)["state"]) != "open":
        return f"{state} before its deadline; {in_order(site, tunnel)}"
    due = datetime.fromisoformat(site.record(tunnel)["deadline"])
    time.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds() - 2))
    site.kill(part)
    time.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds()))
    late = None
    while late is None:
        if part == "kube-apiserver" or site.pod(tunnel) not in {"Running", "Pending"}:
            late = (datetime.now(UTC) - due).total_seconds()
        assert (datetime.now(UTC) - due).total_seconds() < LATE or late is not None, "the pod lives past its deadline"
        time.sleep(0.1)
    return f"dead after {late:.1f} s; {in_order(site, tunnel)}"


def in_order(site: Site, tunnel: str) -> str:
    """Wait until ``tunnel`` is open and works, or is over and recorded; close it, and see that nothing is left of it."""
    end = time.monotonic() + PATIENCE
    while (state := site.record(tunnel)["state"]) not in {"open", "closed"}:
        assert time.monotonic() < end, f"{tunnel} is {state}: {site.at.tail('worker')}"
        time.sleep(0.5)
    if state == "open":
        ada = site.story.who("ada")
        site.patiently(ada.sign_in)
        lab = site.patiently(lambda: ada.enter(tunnel))
        site.patiently(lab.start)
        assert "42" in lab.run("print(6 * 7)"), "a tunnel that is said to be open does not work"
        site.close(tunnel)
    while (found := site.record(tunnel))["state"] != "closed":
        assert time.monotonic() < end + PATIENCE, f"{tunnel} does not close: {site.at.tail('worker')}"
        time.sleep(0.5)
    left = site.at.left_behind(90)
    assert left == [], f"left over: {left}"
    return f"{'was open; ' if state == 'open' else ''}{found['cause']}"
