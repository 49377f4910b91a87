"""The hub takes a token only from a file that is its own and holds one."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.settings import token
from sulku.errors import ConfigurationError


def test_a_token_is_read_anew_each_time(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(mode=0o600)
    for text in ("one", "two"):
        file.write_text(f"{text}\n")
        assert token(str(file)) == text


def test_a_token_that_others_may_read_or_that_is_none_is_refused(tmp_path: Path) -> None:
    open_, empty = tmp_path / "open", tmp_path / "empty"
    open_.write_text("token")
    open_.chmod(0o644)
    empty.touch(mode=0o600)
    for wrong in (open_, empty, tmp_path / "missing"):
        with pytest.raises(ConfigurationError):
            token(str(wrong))
