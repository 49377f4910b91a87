"""Nothing secret enters a workspace that has not been proved closed: every hole is found, and then nothing runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sulku.closure import CONTROLS, WAYS
from sulku.errors import NotProvedClosedError, SandboxError, TunnelEndedError
from sulku.plan import EndRecord
from tests.adapters.sandboxes import IMAGE, Bench, bench, left_behind

HOLES = {
    "network": {"tcp4-loopback", "tcp4-any", "tcp4-mapped", "udp4-loopback", "abstract-socket", "abstract-listing"},
    "processes": {"host-processes"},
    "no filter": {"seccomp", "netlink-socket", "kernel-calls", "ptrace"},
    "nested namespaces": {"unshare", "clone-user"},
    "writable root": {"write-outside"},
    "host root": {"root-listing"},
    "state folder": {"neighbours", "root-listing"},
    "early data": {"datasets-absent"},
    "a variable": {"environment"},
    "a device": {"device-list"},
    "a system socket": {"system-sockets"},
    "control groups": {"cgroups", "root-listing"},
}


@pytest.fixture
def here() -> Iterator[Bench]:
    """Give a bench."""
    with bench() as made:
        yield made


def test_a_sound_workspace_is_proved_closed_by_every_way_and_every_control(here: Bench) -> None:
    plan = here.plan()
    report = here.box.start(plan)
    assert report.closed, report.problems
    assert {one.way for one in report.attempts} >= WAYS
    assert {one.canary for one in report.controls if one.alive} >= CONTROLS
    assert not any(one.strangers for one in report.controls)
    assert len(WAYS) >= 25
    assert here.alive(plan).phase == "proved"


@pytest.mark.parametrize("hole", HOLES)
def test_a_hole_is_found_and_no_data_comes_near_it(here: Bench, hole: str) -> None:
    plan, box = here.plan(hole), here.leaky()
    report = box.start(plan)
    assert not report.closed
    assert {one.way for one in report.attempts if not one.closed} >= HOLES[hole], report.problems
    record = box.status(plan.tunnel)
    assert isinstance(record, EndRecord)
    assert (record.cause, record.processes_left, record.mounts_left) == ("closure-failed", 0, 0)
    with pytest.raises(TunnelEndedError):
        box.release(plan.tunnel, here.volumes)
    assert not left_behind(plan)


def test_a_workspace_that_shares_its_supervisors_processes_does_not_start(here: Bench) -> None:
    plan = here.plan("one namespace of processes")
    with pytest.raises(SandboxError, match="did not start"):
        here.leaky().start(plan)
    assert not left_behind(plan)


def test_the_leaky_supervisor_without_a_hole_is_closed(here: Bench) -> None:
    assert here.leaky().start(here.plan("none")).closed


def test_an_escape_is_also_seen_from_outside(here: Bench) -> None:
    report = here.leaky().start(here.plan("network"))
    reached = {one.canary for one in report.controls if one.strangers}
    assert reached >= {"tcp4", "tcp-any", "udp4", "abstract"}


def test_silence_proves_nothing_when_the_canary_is_dead(here: Bench) -> None:
    report = here.leaky().start(here.plan("dead canary"))
    assert all(one.closed for one in report.attempts)
    assert not report.closed
    assert "control tcp4: dead" in report.problems


def _image(folder: Path, change: str) -> Path:
    copy = folder / "image"
    shutil.copytree(IMAGE, copy)
    with (copy / "probe.py").open("a") as file:
        file.write(change)
    return copy


def test_a_probe_that_leaves_a_way_untried_does_not_count(here: Bench, tmp_path: Path) -> None:
    image = _image(tmp_path, "\nWAYS.pop('raw-socket')\n")
    report = here.sandbox(image).start(here.plan())
    assert report.problems == ("raw-socket: not tried",)


def test_a_way_that_cannot_be_tried_does_not_count_as_closed(here: Bench, tmp_path: Path) -> None:
    image = _image(tmp_path, "\ndef _no(told):\n    raise ValueError('no idea')\nWAYS['raw-socket'] = _no\n")
    report = here.sandbox(image).start(here.plan())
    assert report.problems == ("raw-socket: open (ValueError: no idea)",)


def test_a_look_that_cannot_be_taken_does_not_count_as_closed(here: Bench, tmp_path: Path) -> None:
    image = _image(tmp_path, "\ndef _no(told):\n    open('/proc/none')\nWAYS['interfaces'] = _no\n")
    report = here.sandbox(image).start(here.plan())
    assert report.problems == ("interfaces: open (ENOENT)",)


def test_a_probe_that_crashes_ends_the_tunnel(here: Bench, tmp_path: Path) -> None:
    plan, box = here.plan(), here.sandbox(_image(tmp_path, "\nraise SystemExit(3)\n"))
    with pytest.raises(SandboxError):
        box.start(plan)
    assert isinstance(box.status(plan.tunnel), EndRecord)
    assert not left_behind(plan)


def test_data_waits_for_the_proof_even_when_asked_for_early(here: Bench) -> None:
    """The supervisor itself refuses; the adapter has no say in it."""
    from broker.adapters.supervisor import Supervisor

    supervisor = Supervisor.__new__(Supervisor)
    supervisor.phase, supervisor.closure = "proving", None
    with pytest.raises(NotProvedClosedError):
        supervisor.release(here.volumes)
