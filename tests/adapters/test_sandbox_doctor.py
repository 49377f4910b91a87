"""Where isolation cannot be had, nothing runs, and it is said what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.adapters.sandbox import Sandbox, doctor
from sulku.errors import ConfigurationError, IsolationUnavailableError
from tests.adapters.sandboxes import IMAGE, VENV, Bench, bench, left_behind, now

FAKES = {
    "fails": "#!/bin/sh\necho 'No permissions to create new namespace' >&2\nexit 1\n",
    "pretends": '#!/bin/sh\n[ "$1" = --version ] && echo bubblewrap 0.8.0\nexit 1\n',
    "isolates nothing": '#!/bin/sh\n[ "$1" = --version ] && echo bubblewrap 0.8.0 && exit\n'
    'while [ "$1" != /usr/bin/sh ]; do shift; done\nexec "$@"\n',
    "is too old": "#!/bin/sh\necho bubblewrap 0.4.1\n",
}


@pytest.fixture
def here() -> Iterator[Bench]:
    """Give a bench."""
    with bench() as made:
        yield made


def _fake(folder: Path, kind: str) -> str:
    (folder / "bwrap").write_text(FAKES[kind])
    (folder / "bwrap").chmod(0o755)
    folder.chmod(0o755)
    return str(folder)


def test_on_this_machine_everything_needed_is_there() -> None:
    found = doctor(VENV, IMAGE)
    assert [check for check in found if check.needed and not check.ok] == []
    assert all(check.detail and check.remedy for check in found)


@pytest.mark.parametrize("kind", FAKES)
def test_a_bubblewrap_that_does_not_isolate_stops_everything(here: Bench, tmp_path: Path, kind: str) -> None:
    box, plan = here.sandbox(path=_fake(tmp_path, kind)), here.plan()
    with pytest.raises(IsolationUnavailableError) as caught:
        box.start(plan)
    assert {"bubblewrap", "namespaces"} & set(caught.value.missing)
    assert box.status(plan.tunnel) is None
    assert not left_behind(plan)


def test_no_bubblewrap_stops_everything(here: Bench, tmp_path: Path) -> None:
    with pytest.raises(IsolationUnavailableError) as caught:
        here.sandbox(path=str(tmp_path)).start(here.plan())
    assert "bubblewrap" in caught.value.missing


def test_a_missing_image_or_environment_is_named(tmp_path: Path) -> None:
    failed = {check.name for check in doctor(tmp_path, tmp_path) if not check.ok}
    assert failed >= {"workspace", "image"}


def test_a_state_folder_too_deep_for_sockets_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        Sandbox(tmp_path / ("x" * 90), VENV, IMAGE, now=now)
    with pytest.raises(ConfigurationError):
        Sandbox(Path("/mnt/sulku"), VENV, IMAGE, now=now)
