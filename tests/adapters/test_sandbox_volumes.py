"""Datasets: nothing but ordinary files comes in, read-only, all or none; and homes, which stay, and stay small."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sulku.errors import HomeInUseError, SandboxError, UnsafeFileError
from sulku.plan import Alive, Volume
from tests.adapters.sandboxes import Bench, bench


@pytest.fixture
def here() -> Iterator[Bench]:
    """Give a bench."""
    with bench() as made:
        yield made


def _socket(at: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(at))


SPOILT: dict[str, Callable[[Path], object]] = {
    "symlink": lambda data: (data / "link").symlink_to("/etc/shadow"),
    "inner symlink": lambda data: (data / "link").symlink_to("persons.csv"),
    "linked folder": lambda data: (data / "folder").symlink_to("/etc", target_is_directory=True),
    "nested symlink": lambda data: ((data / "a").mkdir(), (data / "a" / "link").symlink_to("../persons.csv")),
    "device": lambda data: os.mknod(data / "device", 0o20600, os.makedev(1, 1)),
    "pipe": lambda data: os.mkfifo(data / "pipe"),
    "socket": lambda data: _socket(data / "socket"),
    "bidi name": lambda data: (data / "a\u202ecsv.exe").write_text(""),
    "control name": lambda data: (data / "a\nb").write_text(""),
}


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_dataset_with_anything_but_ordinary_files_is_refused(here: Bench, spoil: str) -> None:
    SPOILT[spoil](here.data)
    plan = here.plan()
    here.box.start(plan)
    with pytest.raises(UnsafeFileError):
        here.box.release(plan.tunnel, here.volumes)
    assert here.box.mounted(plan.tunnel) == ()
    assert here.alive(plan).phase == "proved"


def test_a_path_that_climbs_or_leads_through_a_link_is_refused(here: Bench) -> None:
    plan = here.plan()
    here.box.start(plan)
    (here.state / "shortcut").symlink_to(here.data.parent)
    for source in (f"{here.data}/../flchain", "datasets/flchain", f"{here.state}/shortcut/flchain", f"{here.data}/persons.csv"):
        with pytest.raises(UnsafeFileError):
            here.box.release(plan.tunnel, [Volume("flchain", source)])
    with pytest.raises(SandboxError):
        here.box.release(plan.tunnel, [Volume("flchain", f"{here.data}-none")])
    assert here.box.release(plan.tunnel, here.volumes)[0].files == 1


def test_only_the_datasets_of_the_plan_come_in(here: Bench) -> None:
    plan = here.plan()
    here.box.start(plan)
    for volumes in ([], [*here.volumes, Volume("other", str(here.data))], [Volume("other", str(here.data))]):
        with pytest.raises(SandboxError):
            here.box.release(plan.tunnel, volumes)


def test_what_is_mounted_is_read_only_from_outside_and_inside(here: Bench) -> None:
    (proof,) = here.box.mounted(here.opened().tunnel)
    assert (proof.name, proof.files, proof.refused) == ("flchain", 1, "EROFS")
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(proof.options.split(","))


def test_a_home_is_in_one_tunnel_at_a_time(here: Bench) -> None:
    first = here.plan(home="shared")
    here.box.start(first)
    with pytest.raises(HomeInUseError):
        here.box.start(here.plan(home="shared"))
    here.box.stop(first.tunnel)
    assert here.box.start(here.plan(home="shared")).closed


def test_two_tunnels_run_side_by_side(here: Bench) -> None:
    first, second = here.opened(), here.opened()
    assert isinstance(here.box.status(first.tunnel), Alive)
    assert isinstance(here.box.status(second.tunnel), Alive)
