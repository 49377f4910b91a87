"""A log line says what went wrong and where, and nothing of what was in the variables."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from broker import telemetry

SECRET = "a-token-that-opens-everything"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    kept, handlers, level = structlog.get_config(), logging.root.handlers[:], logging.root.level
    stream = io.StringIO()
    telemetry.configure(stream)
    yield stream
    structlog.configure(**kept)
    logging.basicConfig(level=level, handlers=handlers, force=True)


def read(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def breaks(token: str) -> None:
    keys = {"token": token}
    raise ValueError(f"{len(keys)} key does not fit")


def test_a_failure_is_told_with_its_place_and_without_its_values(lines: io.StringIO) -> None:
    for log in (structlog.get_logger("ours").exception, logging.getLogger("theirs").exception):
        try:
            breaks(SECRET)
        except ValueError:
            log("it-failed")
    ours, theirs = read(lines)
    for told in (ours, theirs):
        assert told["event"] == "it-failed"
        assert told["level"] == "error"
        assert told["timestamp"].endswith("Z")
        assert "1 key does not fit" in told["exception"]
        assert "in breaks" in told["exception"], "where"
    assert SECRET not in lines.getvalue()


def test_a_failure_is_told_though_python_cannot_draw_it(lines: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    def confused(*_: object) -> list[str]:
        raise SystemError("AST constructor recursion depth mismatch (before=129, after=34)")

    monkeypatch.setattr("traceback.format_exception", confused)
    test_a_failure_is_told_with_its_place_and_without_its_values(lines)


def test_what_is_said_on_purpose_is_said_whole_and_on_one_line(lines: io.StringIO) -> None:
    structlog.get_logger("ours").warning("odd", tunnel="tun_1", why="two\nlines — ä")
    (told,) = read(lines)
    assert (told["tunnel"], told["why"]) == ("tun_1", "two\nlines — ä")


def test_chatter_is_left_out(lines: io.StringIO) -> None:
    structlog.get_logger("ours").debug("no")
    logging.getLogger("theirs").info("no")
    assert lines.getvalue() == ""
    structlog.get_logger("ours").info("yes")
    assert len(read(lines)) == 1
