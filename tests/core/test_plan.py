"""A plan gives bubblewrap exactly what the permit needs, word for word, and refuses what could say more."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from sulku.codec import plain, typed
from sulku.errors import InvalidInputError, UnsafeNameError
from sulku.plan import WorkspacePlan, bwrap_arguments, environment, host_uid, notice

PLAN = WorkspacePlan(
    tunnel="tun_0123456789abcdef",
    person="usr_0123456789abcdef",
    permit="per_0123456789abcdef",
    title="Survival after diagnosis",
    deadline=datetime(2026, 11, 22, 18, 0, tzinfo=UTC),
    datasets=("flchain", "whas500"),
    home="/var/lib/sulku/homes/0123",
    token="a-token-of-more-than-128-bits",
)
GOLDEN = """
--unshare-all --unshare-user --disable-userns --uid 1000 --gid 1000 --hostname workspace --new-session
--die-with-parent --cap-drop ALL --clearenv --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/sbin /sbin
--symlink usr/lib /lib --symlink usr/lib64 /lib64 --ro-bind /mnt/image/etc /etc --ro-bind /mnt/venv /opt/workspace
--ro-bind /mnt/image /opt/sulku --proc /proc --dev /dev --perms 1777 --size 134217728 --tmpfs /dev/shm
--remount-ro /dev --perms 1777 --size 268435456 --tmpfs /tmp --perms 0755 --dir /home
--bind /mnt/home/researcher /home/researcher --perms 0555 --dir /data --perms 0555 --dir /data/flchain
--perms 0555 --dir /data/whas500 --perms 0555 --dir /run --perms 0555 --dir /run/sulku --perms 0444
--ro-bind-data 8 /run/sulku/tunnel.json --remount-ro / --setenv HOME /home/researcher --setenv USER researcher
--setenv LOGNAME researcher --setenv PATH /opt/sulku/bin:/opt/workspace/bin:/usr/bin --setenv LANG C.UTF-8
--setenv TZ UTC --setenv PWD /home/researcher --setenv PYTHONPATH /opt/sulku --setenv PYTHONNOUSERSITE 1
--setenv JUPYTER_NO_CONFIG 1 --setenv JUPYTER_RUNTIME_DIR /tmp/jupyter
--setenv JUPYTERLAB_SETTINGS_DIR /home/researcher/.lab/settings
--setenv JUPYTERLAB_WORKSPACES_DIR /home/researcher/.lab/workspaces --setenv SULKU_TUNNEL tun_0123456789abcdef
--seccomp 5 --info-fd 7 --chdir /home/researcher
"""


def test_the_options_are_these_and_no_others() -> None:
    assert list(bwrap_arguments(PLAN)) == GOLDEN.split()


def test_only_the_home_can_be_written_and_nothing_of_the_host_is_bound_but_usr() -> None:
    words = bwrap_arguments(PLAN)
    bound = [(word, words[at + 1]) for at, word in enumerate(words) if "bind" in word and "data" not in word]
    assert [source for kind, source in bound if kind != "--ro-bind"] == ["/mnt/home/researcher"]
    assert {source for _, source in bound if not source.startswith("/mnt/")} == {"/usr"}


def test_the_token_is_in_no_option_no_variable_no_notice_and_no_repr() -> None:
    said = (*bwrap_arguments(PLAN), *environment(PLAN).values(), notice(PLAN).decode(), repr(PLAN))
    assert not any(PLAN.token in one for one in said)


def test_the_notice_says_where_the_data_is_and_when_it_ends() -> None:
    told = json.loads(notice(PLAN))
    assert told["datasets"] == {"flchain": "/data/flchain", "whas500": "/data/whas500"}
    assert told["deadline"] == "2026-11-22T18:00:00.000Z"
    assert PLAN.home not in notice(PLAN).decode()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "-option", ".hidden", "a\0b", "a\nb", "ä", "x" * 65])
def test_a_dataset_name_that_is_no_plain_file_name_is_refused(name: str) -> None:
    with pytest.raises(UnsafeNameError):
        replace(PLAN, datasets=(name,))


@pytest.mark.parametrize(
    "change",
    [
        {"datasets": ("a", "A")},
        {"tunnel": "tun_short"},
        {"person": "per_0123456789abcdef"},
        {"home": "relative"},
        {"home": "/srv/../etc"},
        {"home": "/srv\0/x"},
        {"token": "short"},
        {"token": "with spaces that are not for urls"},
        {"deadline": datetime(2026, 11, 22)},  # a time without a zone
    ],
)
def test_a_malformed_plan_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        replace(PLAN, **change)  # type: ignore[arg-type]


def test_a_plan_survives_the_way_to_its_supervisor() -> None:
    assert typed(WorkspacePlan, json.loads(json.dumps(plain(PLAN)))) == PLAN


def test_each_home_has_a_user_of_its_own_outside_of_all_usual_ranges() -> None:
    assert host_uid("/homes/a") == host_uid("/homes/a") != host_uid("/homes/b")
    assert 0x7000_0000 <= host_uid("/homes/a") < 0x7010_0000
