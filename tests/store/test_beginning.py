"""An installation begins one history under its keys, however often it is begun, and never a second one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from broker import manage, settings, wiring
from broker.store.unit import Database
from broker.store.verify import verify
from sulku.errors import ConfigurationError

PERSON = "steward:Maria Lind:maria@register.example:Register Authority"


def entries(state: Path) -> int:
    database = Database(wiring.database_url(settings.load(state)))
    try:
        return verify(database).entries
    finally:
        database.close()


def lost(state: Path) -> None:
    for file in state.glob("sulku.db*"):
        file.unlink()


def test_what_is_begun_again_goes_on(tmp_path: Path) -> None:
    manage.init(tmp_path, [PERSON])
    before = entries(tmp_path)
    manage.init(tmp_path, [])
    assert entries(tmp_path) == before > 0


def test_an_empty_database_is_not_filled_under_keys_that_have_signed(tmp_path: Path) -> None:
    manage.init(tmp_path, [PERSON])
    lost(tmp_path)
    with pytest.raises(ConfigurationError, match="restore its database, or begin with new keys"):
        manage.init(tmp_path, [PERSON])
    with pytest.raises(ConfigurationError, match="restore its database"):
        manage.init(tmp_path, [])  # nor by whoever tries again


def test_keys_that_have_signed_nothing_and_new_ones_may_begin(tmp_path: Path) -> None:
    manage.init(tmp_path, [PERSON])
    lost(tmp_path)
    (tmp_path / "keys" / manage.SIGNED).unlink()  # as if it had been killed before its first checkpoint
    manage.init(tmp_path, [PERSON])
    lost(tmp_path)
    shutil.rmtree(tmp_path / "keys")
    manage.init(tmp_path, [PERSON])
    assert entries(tmp_path) > 0
