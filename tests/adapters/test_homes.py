"""Homes are destroyed with their permit: all of it, never under a tunnel, and as often as it takes."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import pytest

from broker.adapters import homes
from broker.wiring import Wired
from sulku import ids
from sulku.errors import InvalidInputError, SandboxError
from tests.soon import eventually


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homes, "_LETS_GO", 0.1)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """What two people kept under one permit."""
    for person in ("usr_a", "usr_b"):
        (tmp_path / "per" / person).mkdir(parents=True)
        (tmp_path / "per" / person / homes.IMAGE).write_bytes(b"secret work")
        (tmp_path / "per" / person / "lock").touch()
    return tmp_path / "per"


def test_every_home_under_a_permit_goes_and_going_again_is_nothing(kept: Path) -> None:
    homes.wipe(kept)
    assert not kept.exists()
    homes.wipe(kept)


def test_a_home_that_a_tunnel_has_stays_and_the_others_go(kept: Path) -> None:
    with (kept / "usr_a" / "lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(SandboxError, match="usr_a"):
            homes.wipe(kept)
        assert (kept / "usr_a" / homes.IMAGE).read_bytes() == b"secret work"
        assert not (kept / "usr_b").exists()
    homes.wipe(kept)
    assert not kept.exists()


def test_a_home_that_is_still_attached_stays(kept: Path) -> None:
    if os.geteuid():
        pytest.skip("only root attaches images")
    image = kept / "usr_a" / homes.IMAGE
    image.write_bytes(bytes(1 << 20))
    device = subprocess.run(
        ["/usr/sbin/losetup", "--find", "--show", str(image)], check=True, capture_output=True, text=True
    ).stdout.strip()
    try:
        with pytest.raises(SandboxError, match="usr_a"):
            homes.wipe(kept)
        assert image.exists()
    finally:
        subprocess.run(["/usr/sbin/losetup", "--detach", device], check=True)
    eventually(lambda: not homes.loops(image))  # while somebody else looks into it, it goes later
    homes.wipe(kept)


def test_only_a_permits_own_folder_is_wiped(tmp_path: Path) -> None:
    permit, other = ids.new("per"), ids.new("per")
    for one in (permit, other):
        (tmp_path / "homes" / one / "usr_a").mkdir(parents=True)
    wired = SimpleNamespace(settings=SimpleNamespace(state=tmp_path))
    Wired.wipe_homes(wired, permit)  # type: ignore[arg-type]
    assert [path.name for path in (tmp_path / "homes").iterdir()] == [other]
    for wrong in ("", ".", "..", f"{other}/..", "per_"):
        with pytest.raises(InvalidInputError):
            Wired.wipe_homes(wired, wrong)  # type: ignore[arg-type]
    assert (tmp_path / "homes" / other / "usr_a").exists()


NOBODY: Final = 65534


def as_nobody(folder: Path, do: Callable[[], None]) -> None:
    """Do something in a child that is nobody in particular and owns ``folder``, as the worker on a cluster is."""
    for one in (folder, *folder.rglob("*")):
        os.chown(one, NOBODY, NOBODY, follow_symlinks=False)
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0
        return
    status = 1
    try:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        do()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def test_a_home_on_a_clusters_volume_goes_whatever_its_person_left_in_it() -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "homes").mkdir()
        (place / "elsewhere").mkdir()
        (place / "elsewhere" / "kept.txt").write_text("not theirs")
        permit = place / "homes" / "per_0123456789abcdef"

        def work() -> None:
            home = homes.folder(permit / "usr_0123456789abcdef", NOBODY)
            assert home == homes.folder(permit / "usr_0123456789abcdef", NOBODY), "made once"
            assert home.stat().st_mode & 0o777 == 0o700
            for folder in ("lock", "work", "work/deep"):
                (home / folder).mkdir()
            (home / "work" / "notes.txt").write_text("mine")
            (home / "away").symlink_to(place / "elsewhere")
            for closed in ("work/deep", "work", "lock", "."):
                (home / closed).chmod(0)
            homes.wipe(permit)
            homes.wipe(permit)

        place.chmod(0o711)
        as_nobody(place / "homes", work)
        assert not permit.exists()
        assert (place / "elsewhere" / "kept.txt").read_text() == "not theirs"
