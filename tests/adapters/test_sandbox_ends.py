"""A tunnel ends: by its deadline whoever is dead, at once when asked, and with its supervisor; nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from broker.adapters.cage import inhabitants
from sulku.codec import plain
from sulku.errors import SandboxError, TunnelEndedError
from sulku.plan import Alive, EndRecord, WorkspacePlan
from tests.adapters.leaky import PHASES
from tests.adapters.sandboxes import IMAGE, VENV, Bench, bench, left_behind, now
from tests.soon import soon

LATE = timedelta(seconds=10)  # unmounting writes what there is to be written, on everybody's disk
SLACK = timedelta(milliseconds=50)  # between reading the wall clock here and the boot clock there


@pytest.fixture
def here() -> Iterator[Bench]:
    """Give a bench."""
    with bench() as made:
        yield made


def _known(here: Bench, plan: WorkspacePlan) -> dict[str, int]:
    return dict(json.loads((here.box.socket_path(plan.tunnel).parent / "namespaces.json").read_text()))


def _ended(here: Bench, plan: WorkspacePlan) -> EndRecord:
    assert soon(lambda: isinstance(here.box.status(plan.tunnel), EndRecord))
    record = here.box.status(plan.tunnel)
    assert isinstance(record, EndRecord)
    assert (record.processes_left, record.mounts_left) == (0, 0)
    assert not left_behind(plan)
    assert soon(lambda: not here.box.socket_path(plan.tunnel).parent.exists()), "the folder of a run goes after its record is on disk"
    return record


def test_the_supervisor_ends_a_tunnel_at_its_deadline(here: Bench) -> None:
    plan = here.opened()
    deadline = now() + timedelta(seconds=1)
    here.box.shorten(plan.tunnel, deadline)
    record = _ended(here, plan)
    assert record.cause == "deadline"
    assert deadline <= record.at + SLACK
    assert record.at <= deadline + LATE
    assert record.home_kept


def test_until_its_deadline_a_tunnel_lives(here: Bench) -> None:
    plan = here.opened()
    status = here.alive(plan)
    assert status.phase == "released"
    assert 0 < status.left <= 900_000
    assert status.processes >= 2


def test_the_deadline_comes_though_the_broker_is_dead(here: Bench) -> None:
    plan = here.plan()
    script = (
        "import json, os, sys, signal; from pathlib import Path; from datetime import datetime, timedelta, UTC\n"
        "from broker.adapters.sandbox import Sandbox; from sulku.codec import typed; from sulku.plan import WorkspacePlan\n"
        "plan = typed(WorkspacePlan, json.load(sys.stdin))\n"
        "box = Sandbox(*map(Path, sys.argv[1:]), now=lambda: datetime.now(UTC))\n"
        "assert box.start(plan).closed; deadline = datetime.now(UTC) + timedelta(seconds=3); box.shorten(plan.tunnel, deadline)\n"
        "print(deadline.isoformat(), flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-c", script, str(here.state), str(VENV), str(IMAGE)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    question = json.dumps(plain(plan))
    done = subprocess.run(command, input=question, text=True, capture_output=True, env=environment, check=False)
    assert done.stdout and done.returncode == -signal.SIGKILL, done.stderr
    assert isinstance(here.box.status(plan.tunnel), Alive)
    record = _ended(here, plan)
    assert record.cause == "deadline"
    assert record.at <= datetime.fromisoformat(done.stdout.strip()) + LATE


def test_a_broker_that_comes_back_finds_its_tunnels_and_can_stop_them(here: Bench) -> None:
    plan = here.opened()
    again = here.sandbox()
    assert again.start(plan) == here.box.start(plan)
    assert again.release(plan.tunnel, here.volumes) == here.box.mounted(plan.tunnel)
    assert again.stop(plan.tunnel).cause == "stopped"


@pytest.mark.parametrize("jump", [timedelta(days=-400), timedelta(days=400)])
def test_a_wall_clock_that_jumps_moves_nothing(here: Bench, jump: timedelta) -> None:
    jumped = [timedelta(0)]
    box = here.sandbox(clock=lambda: now() + jumped[0])
    plan = here.plan()
    assert box.start(plan).closed
    deadline = now() + timedelta(seconds=3)
    box.shorten(plan.tunnel, deadline)
    jumped[0] = jump
    assert isinstance(box.status(plan.tunnel), Alive)
    record = _ended(here, plan)
    assert record.cause == "deadline"
    assert deadline - SLACK <= record.at <= deadline + LATE


def test_a_deadline_moves_nearer_and_never_further(here: Bench) -> None:
    plan = here.plan()
    here.box.start(plan)
    here.box.shorten(plan.tunnel, plan.deadline + timedelta(hours=1))
    status = here.box.status(plan.tunnel)
    assert isinstance(status, Alive)
    assert status.left <= 900_000
    here.box.shorten(plan.tunnel, now() + timedelta(milliseconds=200))
    assert _ended(here, plan).cause == "deadline"


def test_a_supervisor_that_hangs_is_killed_by_the_kernel_and_the_workspace_with_it(here: Bench) -> None:
    plan = here.plan("hangs at its deadline")
    assert here.leaky().start(plan).closed
    known = _known(here, plan)
    assert soon(lambda: not inhabitants(known["pid-namespace"], known["mnt-namespace"]))
    assert _ended(here, plan).cause == "crashed"


def test_a_supervisor_that_hangs_can_still_be_stopped(here: Bench) -> None:
    box, plan = here.leaky(), here.plan("hangs")
    box.PATIENCE = 0.5
    assert box.start(plan).closed
    status = box.status(plan.tunnel)
    assert isinstance(status, Alive)
    assert status.phase == "busy"
    assert box.stop(plan.tunnel).cause == "crashed"
    assert not left_behind(plan)


def test_a_look_while_it_starts_does_not_disturb(here: Bench) -> None:
    """The worker looks at every tunnel once a second, from another thread than the one that starts it."""
    plan, seen = here.plan(), []
    looking = threading.Event()

    def look() -> None:
        while not looking.is_set():
            seen.append(here.sandbox().status(plan.tunnel))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        assert here.box.start(plan).closed
        here.box.release(plan.tunnel, here.volumes)
    finally:
        looking.set()
        watcher.join()
    assert not any(isinstance(one, EndRecord) for one in seen)
    assert isinstance(here.box.status(plan.tunnel), Alive)


def test_stopping_kills_proves_and_says_so_twice(here: Bench) -> None:
    plan = here.opened()
    known = _known(here, plan)
    assert inhabitants(known["pid-namespace"])
    record = here.box.stop(plan.tunnel)
    assert (record.cause, record.processes_left, record.mounts_left) == ("stopped", 0, 0)
    assert not inhabitants(known["pid-namespace"], known["mnt-namespace"])
    assert not left_behind(plan)
    assert here.box.stop(plan.tunnel) == record
    assert here.box.ended() == [record]


def test_a_late_opening_after_an_end_does_nothing(here: Bench) -> None:
    plan = here.plan()
    here.box.start(plan)
    here.box.stop(plan.tunnel)
    here.box.acknowledge(plan.tunnel)
    assert here.box.ended() == []
    with pytest.raises(TunnelEndedError):
        here.box.start(plan)
    assert not left_behind(plan)


def test_an_opening_after_the_deadline_does_nothing(here: Bench) -> None:
    plan = here.plan(seconds=-1)
    with pytest.raises(TunnelEndedError):
        here.box.start(plan)
    assert here.box.status(plan.tunnel) is None


def test_a_workspace_dies_with_its_supervisor(here: Bench) -> None:
    plan = here.opened()
    known = _known(here, plan)
    os.kill(known["supervisor"], signal.SIGKILL)
    assert soon(lambda: not inhabitants(known["pid-namespace"], known["mnt-namespace"]))
    record = _ended(here, plan)
    assert (record.cause, record.home_kept) == ("crashed", True)
    with pytest.raises(TunnelEndedError):
        here.box.wait_ready(plan.tunnel, 5)


def test_a_workspace_that_dies_by_itself_is_recorded(here: Bench) -> None:
    plan = here.opened()
    os.kill(_known(here, plan)["child-pid"], signal.SIGKILL)
    assert _ended(here, plan).cause == "crashed"


@pytest.mark.parametrize("phase", sorted(set(PHASES) - {"killed when ending"}))
def test_a_supervisor_killed_on_the_way_leaves_nothing(here: Bench, phase: str) -> None:
    plan = here.plan(phase)
    with pytest.raises(SandboxError):
        here.leaky().start(plan)
    assert soon(lambda: not left_behind(plan))
    assert _ended(here, plan).cause == "crashed"


def test_a_supervisor_killed_while_ending_leaves_nothing(here: Bench) -> None:
    plan = here.plan("killed when ending")
    assert here.leaky().start(plan).closed
    assert here.box.stop(plan.tunnel).cause == "crashed"
    assert not left_behind(plan)


def test_what_never_ran_has_no_status(here: Bench) -> None:
    assert here.box.status(here.plan().tunnel) is None
    with pytest.raises(TunnelEndedError):
        here.box.stop(here.plan().tunnel)


def test_the_token_and_host_paths_are_in_no_argument_list(here: Bench) -> None:
    plan = here.opened()
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in inhabitants(_known(here, plan)["pid-namespace"])]
    assert lines
    for line in lines:
        assert plan.token.encode() not in line
        assert str(here.state).encode() not in line
