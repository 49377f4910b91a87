"""What the sandbox's tests share: a state folder with a short path, plans, and a look at the host from outside."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from broker.adapters import cgroups
from broker.adapters.sandbox import Sandbox
from sulku import ids
from sulku.plan import MIB, Alive, Limits, Volume, WorkspacePlan, host_uid
from tests.soon import eventually

IMAGE = Path(__file__).parents[2] / "hub" / "images" / "python"
VENV = Path(os.environ.get("SULKU_WORKSPACE", Path.home() / ".cache" / "sulku" / "workspace"))
_numbers = itertools.count()


def now() -> datetime:
    """Return the present moment."""
    return datetime.now(UTC)


class Bench:
    """A broker's state folder with one dataset in it, and sandboxes that work there."""

    def __init__(self) -> None:
        """Make them; the path is short because sockets' paths must be."""
        self.state = Path(tempfile.mkdtemp(prefix="sulku-t-"))
        self.data = self.state / "datasets" / "flchain"
        self.data.mkdir(parents=True)
        (self.data / "persons.csv").write_text("id,age\n1,61\n2,74\n")
        (self.data / "persons.csv").chmod(0o400)
        self.volumes = (Volume("flchain", str(self.data)),)
        self.plans: list[WorkspacePlan] = []
        self.box = self.sandbox()

    def sandbox(self, image: Path = IMAGE, *, clock: Callable[[], datetime] = now, path: str | None = None) -> Sandbox:
        """Return another broker's view of the same folder."""
        return Sandbox(self.state, VENV, image, now=clock, path=path)

    def leaky(self, image: Path = IMAGE) -> Sandbox:
        """Return a sandbox whose supervisor has the hole that a plan's title names."""
        box = self.sandbox(image)
        box.MODULE = "tests.adapters.leaky"
        return box

    def plan(self, title: str = "Survival", *, seconds: float = 900, home: str = "", limits: Limits | None = None) -> WorkspacePlan:
        """Return a plan with one dataset and a home of its own."""
        place = self.state / "homes" / (home or f"h{next(_numbers)}")
        plan = WorkspacePlan(
            tunnel=ids.new("tun"), person=ids.new("usr"), permit=ids.new("per"), title=title,
            deadline=now() + timedelta(seconds=seconds), datasets=("flchain",), home=str(place),
            token=secrets.token_urlsafe(32), limits=limits or Limits(home=32 * MIB, memory=1024 * MIB),
        )  # fmt: skip
        self.plans.append(plan)
        return plan

    def opened(self, plan: WorkspacePlan | None = None) -> WorkspacePlan:
        """Return a plan whose workspace is proved, has its data, and answers."""
        plan = plan or self.plan()
        report = self.box.start(plan)
        assert report.closed, report.problems
        self.box.release(plan.tunnel, self.volumes)
        self.box.wait_ready(plan.tunnel, 60)
        return plan

    def alive(self, plan: WorkspacePlan) -> Alive:
        """Return how a tunnel that lives is; a supervisor that has no time is asked again."""
        found = eventually(lambda: getattr(one := self.box.status(plan.tunnel), "phase", "") != "busy" and one)
        assert isinstance(found, Alive)
        return found

    def clear(self) -> None:
        """Stop what runs and remove the folder."""
        for run in (self.state / "run").glob("t-*"):
            self.box.stop(ids.from_label(run.name))
        shutil.rmtree(self.state)


@contextmanager
def bench() -> Iterator[Bench]:
    """Give a bench and clear it away."""
    made = Bench()
    try:
        yield made
    finally:
        made.clear()


def left_behind(plan: WorkspacePlan) -> list[str]:
    """Return every trace of a workspace on the host: its user's processes, its home's devices, mounts of it."""
    uid, found = str(host_uid(plan.home)), []
    for entry in Path("/proc").iterdir():
        try:
            rows = (entry / "status").read_text().splitlines() if entry.name.isdigit() else []
        except OSError:
            continue
        if "State:\tZ (zombie)" not in rows:  # a zombie is a row in a table, which the host's first process clears
            found += [f"process {entry.name}" for row in rows if row.startswith("Uid:") and uid in row.split()]
    for device in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            found += [f"device {device}"] if device.read_text().startswith(plan.home) else []
        except OSError:
            continue
    found += [f"control group {group}" for group in cgroups.found(plan.tunnel)]
    found += [row for row in Path("/proc/self/mountinfo").read_text().splitlines() if plan.home in row]
    return found
