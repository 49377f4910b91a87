"""Whoever works in a tunnel goes on working while everything around it is replaced, the database's schema included; what goes wrong says so."""

from __future__ import annotations

import json
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.install import CHART, merged
from tests.cluster.installed import versions
from tests.cluster.installed.counter import Counter
from tests.cluster.installed.visits import SOCKETS, Site, Visit
from tests.soon import SECONDS, soon
from tests.stories.person import Watcher

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800, func_only=True), SOCKETS]

ROLLED = 600.0  # seconds in which every part has been replaced, on a machine that others use too
SETUP = 3  # cells that a counter runs before and after it counts
FIXED = ("state", "person", "permit", "permit_version", "epoch", "deadline", "opened_at", "opened_by", "closure", "cause")
SLOW = """
# A migration of the tests, which does what hurts most: it locks what everybody reads, for seconds.
import sqlalchemy as sa
from alembic import op

revision, down_revision = "NEW", "OLD"

def upgrade():
    op.add_column("tunnels", sa.Column("trial_NEW", sa.String(), server_default=""))
    op.execute("LOCK TABLE tunnels, ledger_entries IN ACCESS EXCLUSIVE MODE")
    op.execute("SELECT pg_sleep(4)")
    op.create_table("trial_NEW", sa.Column("one", sa.String()))
"""
BROKEN = """
# A migration of the tests, which fails half-way.
import sqlalchemy as sa
from alembic import op

revision, down_revision = "NEW", "OLD"

def upgrade():
    op.create_table("trial_NEW", sa.Column("one", sa.String()))
    op.execute("ALTER TABLE nobody_made_this ADD COLUMN two text")
"""


@dataclass
class Versions:
    """The versions of our parts that an installation has gone through."""

    here: Site
    folder: Path

    @property
    def image(self) -> str:
        """What runs now."""
        return str(self.here.at.installed.values["images"]["server"])

    def next(self, migration: str) -> tuple[str, str]:
        """Return the image of a version with one migration more, and the schema that it wants."""
        old = self.schema()
        new = f"{max(int(old), 9000) + 1}"
        files = {f"{versions.MIGRATIONS}/{new}_trial.py": textwrap.dedent(migration).replace("NEW", new).replace("OLD", old)}
        return versions.following(self.here.at.cluster, self.image, f"trial-{new}", files, self.folder), new

    def schema(self) -> str:
        """Return the schema that the database has."""
        words = ("psql", "-h", "/run/postgres", "-U", "postgres", "-At", "sulku", "-c", "select version_num from alembic_version")
        return self.here.at.installed.kubectl("exec", "postgres-0", "--", *words).strip()


@pytest.fixture(scope="module")
def version(here: Site, tmp_path_factory: pytest.TempPathFactory) -> Versions:
    return Versions(here, tmp_path_factory.mktemp("images"))


@contextmanager
def counting(here: Site, what: str) -> Iterator[Counter]:
    """Have Ada run cells in a tunnel meanwhile; afterwards everything is as if nothing had happened, but for sockets opened anew."""
    counter = Counter(here.open("ada", here.permit("flchain", "ada")))
    tunnel = counter.lab.tunnel
    before, entries = here.record(tunnel), size(here)
    try:
        yield counter
        assert soon(lambda: settled(here)), "pods of before do not end"
        so_far = counter.sent
        assert soon(lambda: counter.sent > so_far + 5), f"she does not get on: {counter.strange}"
    finally:
        done, pause = counter.stop()
        print(f"{what}: {len(done)} cells; opened anew after {', '.join(f'{gap:.1f} s' for gap in counter.gaps) or 'nothing'}; "
              f"slowest answer otherwise {counter.slowest:.1f} s; longest pause in the kernel {pause:.1f} s", flush=True)  # fmt: skip
    assert counter.strange == [], "she had to sign in or enter again"
    assert done == list(range(len(done))), "a cell was lost or ran twice"
    assert {name: before[name] for name in FIXED} == {name: here.record(tunnel)[name] for name in FIXED}
    here.verified()
    assert size(here) > entries
    recorded = soon(lambda: executed(here, tunnel) >= len(done) + SETUP - 1 + len(counter.gaps))
    assert recorded, f"{executed(here, tunnel)} cells are in the ledger, {len(done)} were run"
    assert executed(here, tunnel) <= counter.asked + SETUP, "a cell is in the ledger twice"
    here.who("ada").post(f"/tunnels/{tunnel}/close")


def upgraded(here: Site, values: dict[str, Any]) -> None:
    """Upgrade to ``values`` and wait until everything has rolled out."""
    installed = here.at.installed
    installed.values = merged(installed.values, values)
    began = time.monotonic()
    installed.helm("upgrade", "sulku", str(CHART), given=installed.values)
    installed.wait(ROLLED)
    print(f"rolled out in {time.monotonic() - began:.0f} s", flush=True)


def settled(here: Site) -> bool:
    """Return whether nothing of ours is on its way out."""
    return not any(pod["metadata"].get("deletionTimestamp") for pod in here.at.installed.pods())


def size(here: Site) -> int:
    """Return the size of the ledger."""
    return int(here.who("tove").get("/ledger/entries?most=1")["entries"][0]["index"]) + 1


def executed(here: Site, tunnel: str) -> int:
    """Return how many cells of a tunnel the ledger has."""
    count, before = 0, ""
    while True:
        found = here.who("tove").get(f"/ledger/entries?record={tunnel}&type=tunnel.code-executed&most=500{before}")["entries"]
        count += len(found)
        if len(found) < 500:
            return count
        before = f"&before={found[-1]['index']}"


def revision(here: Site) -> int:
    """Return the release's number."""
    return int(json.loads(here.at.installed.helm("history", "sulku", "-o", "json"))[-1]["revision"])


def names(here: Site, *parts: str) -> set[str]:
    """Return the pods of parts that are to stay."""
    found = [pod for part in parts or ("",) for pod in here.at.installed.pods(part)]
    return {pod["metadata"]["name"] for pod in found if not pod["metadata"].get("deletionTimestamp")}


def logged(here: Site, what: str, part: str = "prepare") -> Callable[[], bool]:
    """Return a question whether a pod of a part has said something."""
    return lambda: what in here.at.installed.logs(part)


@pytest.mark.draw(1, "replaced")
def test_a_kernel_goes_on_while_every_part_of_ours_is_replaced_and_a_deadline_passes_on_time(here: Site) -> None:
    """Every image has another name: broker, worker, gateways, hub, canary, sign-in, OPA, and Redis too. PostgreSQL is killed for good measure."""
    with counting(here, "every part replaced"):
        lab = here.open("eva", here.permit("gbsg2", "eva", applicant="eva"), minutes=8)
        pods = names(here)
        images = here.at.installed.values["images"]
        new = {name: versions.again(here.at.cluster, images[name], "again") for name in ("server", "opa", "redis", "postgres")}
        upgraded(here, {"images": new})
        stayed = names(here) & pods - {"postgres-0"}
        assert stayed <= {one for one in pods if one.startswith(("prepare", "canary"))}, f"not replaced: {stayed}"
    due = datetime.fromisoformat(here.record(lab.tunnel)["deadline"])
    assert datetime.now(UTC) < due - timedelta(seconds=5), "it took longer than her tunnel lives"
    visit = Visit(here.at, lab, Watcher(lab))  # her socket of before was closed by a gateway that is gone
    visit.watch()
    time.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds()))
    ends = visit.ends(due, seconds=60)
    print(f"a deadline of before the upgrade: {ends}", flush=True)
    assert -2 <= ends.socket <= SECONDS, "the gateways' clock"
    assert -2 <= ends.pod <= 30, "the worker's clock or the kubelet's"
    assert here.closed(visit.tunnel)["cause"] == "deadline"


@pytest.mark.draw(1, "replaced")
def test_a_kernel_goes_on_while_the_database_is_migrated_and_what_is_too_old_for_it_says_so(here: Site, version: Versions) -> None:
    before, old = version.schema(), version.image
    with counting(here, "schema migrated"):
        image, schema = version.next(SLOW)
        upgraded(here, {"images": {"server": image}})
        assert before != version.schema() == schema
    serving = names(here, "broker", "worker")
    with counting(here, "rolled back too late"):
        here.at.installed.helm("rollback", "sulku")
        assert soon(logged(here, f"the database has schema {schema}, which this version does not know"))
        assert soon(logged(here, "restore a backup"), 5)
        assert serving <= names(here, "broker", "worker"), "the version that knows the schema is gone"
        here.at.installed.helm("rollback", "sulku", str(revision(here) - 1))
        here.at.installed.wait(ROLLED)
    running = {one["image"] for pod in here.at.installed.pods("broker") for one in pod["spec"]["containers"] if settled(here)}
    assert old not in running


@pytest.mark.draw(1, "replaced")
def test_a_migration_that_fails_leaves_the_old_version_at_work_and_says_why(here: Site, version: Versions) -> None:
    before, serving = version.schema(), names(here, "broker", "worker")
    with counting(here, "migration failed"):
        image, _ = version.next(BROKEN)
        values = merged(here.at.installed.values, {"images": {"server": image}})
        with pytest.raises(AssertionError, match=r"helm upgrade: .*(deadline|not ready|timed out)"):
            here.at.installed.helm("upgrade", "sulku", str(CHART), "--wait", "--timeout", "45s", given=values)
        assert soon(logged(here, "nobody_made_this")), here.at.installed.logs("prepare")
        assert version.schema() == before
        assert serving <= names(here, "broker", "worker"), "the old version is gone, and nothing took its place"
        lab = here.open("eva", here.permit("gbsg2", "eva", applicant="eva"))
        assert lab.run("print(6 * 7)").strip() == "42", "no tunnel opens meanwhile"
        here.who("eva").post(f"/tunnels/{lab.tunnel}/close")
        here.at.installed.helm("rollback", "sulku")
        here.at.installed.wait(ROLLED)
    assert version.schema() == before


def test_what_ran_while_the_database_was_away_is_recorded_though_the_gateways_that_saw_it_are_replaced(here: Site) -> None:
    """Their reports are on disks that go with their pods: each waits with its end until they are taken."""
    installed = here.at.installed
    with counting(here, "database away, gateways replaced"):
        saw = names(here, "gateway")
        installed.kubectl("scale", "statefulset/postgres", "--replicas=0")
        assert soon(lambda: not installed.pods("postgres")), "PostgreSQL goes on"
        installed.kubectl("rollout", "restart", "deployment/gateway")
        assert soon(lambda: not names(here, "gateway") & saw), "the gateways are not replaced"
        grace = installed.pods("gateway")[0]["spec"]["terminationGracePeriodSeconds"]
        time.sleep(grace - installed.values["gateway"]["reportSeconds"])  # one that does not wait is gone by then
        waiting = {pod["metadata"]["name"] for pod in installed.pods("gateway")} & saw
        installed.kubectl("scale", "statefulset/postgres", "--replicas=1")
        installed.wait(ROLLED)
    assert waiting, "no gateway had anything to tell, or none waited"


def test_a_wrong_value_is_refused_before_anything_changes(here: Site) -> None:
    number, pods = revision(here), names(here)
    wrong = ({"replicas": {"broker": "two"}}, {"tunnels": {"longest": -1}}, {"images": {"server": "sulku server"}}, {"tunnels": {"runtimeClass": {"name": ""}}})
    for values in wrong:
        with pytest.raises(AssertionError, match=r"helm upgrade: .*values don't meet the specifications of the schema|helm upgrade: .*values"):
            here.at.installed.helm("upgrade", "sulku", str(CHART), given=merged(here.at.installed.values, values))
    assert revision(here) == number
    assert names(here) == pods
    assert here.at.installed.get(f"{here.at.installed.url}/healthz")[0] == 200


def test_the_test_would_notice_a_cut(here: Site) -> None:
    """The twin: sockets that are cut are counted, and a tunnel that is closed is no longer counted in."""
    counter = Counter(here.open("aki", here.permit("flchain", "aki", applicant="aki")))
    assert soon(lambda: counter.sent > 3)
    here.at.installed.kill("gateway")
    here.at.installed.wait(ROLLED)
    assert soon(lambda: bool(counter.gaps)), "the gateways were killed and nobody noticed"
    here.who("aki").post(f"/tunnels/{counter.lab.tunnel}/close")
    assert soon(lambda: bool(counter.strange)), "the tunnel is closed and nobody noticed"
    counter._stop.set()
