"""Every table of the command line can be read at 80 columns, and nothing that people copy from it is cut or broken."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from broker.flows import outputs, releases, tunnels
from sulku import ids, mounts
from sulku.closure import ClosureReport
from sulku.people import Role
from sulku_client import commands, show
from sulku_client.show import Column
from tests.client.conftest import Line
from tests.client.test_commands import approve, keys
from tests.store import deeds

Lines = Callable[..., Line]
TITLE = "Serum free light chains and the survival of older residents, by tenth of the total"
FILE = "survival-by-tenth-of-the-total-free-light-chain.csv"


@dataclass
class Busy:
    """A broker at which everything has happened once."""

    line: Lines
    permit: str
    tunnel: str
    release: str
    entry: int
    bundle: Path


@pytest.fixture
def busy(line: Lines, tmp_path: Path) -> Busy:
    rig = line("aino").rig
    permit = approve(line)
    receipt = tunnels.open_(rig.ports, rig.actor("aino", Role.RESEARCHER), permit, 60)
    tunnel = next(one for one in receipt.facts if one.startswith("tun_"))
    tunnels.prove(rig.ports, tunnel, ClosureReport(tunnel, True, (), (), (), 1))
    tunnels.opened(rig.ports, tunnel)
    at = rig.clock.now()
    attached = mounts.Attached(tunnel, deeds.grant(rig.dataset), at)
    deeds.do(rig.store, deeds.WORKER, ids.new("mnt"), attached, also=[tunnel], at=at)
    frozen = outputs.freeze(rig.ports, tunnel, "first", FILE, b"sex,n\nf,20\n", {})
    release = releases.submit(rig.ports, tunnel, TITLE, "", (frozen.id,)).id
    rig.store.notices.put(ids.new("led"), [rig.ids["aino"]], "release-delivered", release, at)
    bundle = tmp_path / "bundle.zip"
    assert line("auli").run("ledger", "export", "--to", str(bundle)).exit_code == 0
    entry = next(one["index"] for one in rig.ledger("application.drafted"))
    return Busy(line, permit, tunnel, release, int(str(entry)), bundle)


COMMANDS: dict[str, tuple[str, Callable[[Busy], list[str]]]] = {
    "notices": ("aino", lambda busy: ["notices"]),
    "people": ("otto", lambda busy: ["people", "list"]),
    "datasets": ("", lambda busy: ["datasets", "list"]),
    "applications": ("aino", lambda busy: ["applications", "list"]),
    "permits": ("aino", lambda busy: ["permits", "list"]),
    "register": ("", lambda busy: ["register", "list"]),
    "tunnels": ("aino", lambda busy: ["tunnels", "list"]),
    "releases": ("sami", lambda busy: ["releases", "list"]),
    "outputs": ("aino", lambda busy: ["outputs", "list", busy.release]),
    "search": ("auli", lambda busy: ["ledger", "search", "--most", "100"]),
    "access": ("auli", lambda busy: ["ledger", "access", busy.line("").rig.dataset]),
    "texts": ("auli", lambda busy: ["ledger", "texts", str(busy.entry)]),
    "check": ("auli", lambda busy: ["ledger", "check"]),
    "verify": ("", lambda busy: ["ledger", "verify", str(busy.bundle), *keys(busy.line("").rig)]),
}
TABLES = {
    tuple(value): f"{module.name}.{name}"
    for module in pkgutil.iter_modules(commands.__path__)
    for name, value in vars(importlib.import_module(f"{commands.__name__}.{module.name}")).items()
    if isinstance(value, tuple) and value and all(isinstance(one, Column) for one in value)
}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """What ``show.table`` is given, while it draws it."""
    seen: list[tuple[Any, Any]] = []
    table = show.table
    monkeypatch.setattr(show, "table", lambda rows, columns: (seen.append((rows, columns)), table(rows, columns))[1])
    return seen


def readable(out: str, rows: list[Any], columns: tuple[Column, ...], width: int) -> None:
    """Check that every value is there, that what people copy is on one line, and that no line is too long without need."""
    left_out = re.search(r"in all; no room for (.*) \(--json", out)
    gone = left_out[1].split(", ") if left_out else []
    assert set(gone) <= {one.heading for one in columns if one.spare}
    lines = out.splitlines()
    wholes = [""]
    for column in columns:
        if column.heading in gone:
            continue
        assert any(column.heading in line for line in lines), column
        for row in rows:
            said = " ".join(show.text(show.dig(row, column.path)).split())
            if column.prose:
                assert all(word in out or cell_len(word) > 64 for word in said.split()), said
            else:
                wholes.append(said)
                assert any(said in line for line in lines), said
    table = lines[: next(n for n, line in enumerate(lines) if re.match(r"\d+ in all", line))]  # below it are sentences
    assert max(map(cell_len, table)) <= max(width, 2 + max(map(cell_len, wholes)))


@pytest.mark.parametrize("width", [80, 120])
def test_every_table_can_be_read_and_copied_from(busy: Busy, drawn: list[tuple[Any, Any]], width: int) -> None:
    seen = set()
    for name, (who, words) in COMMANDS.items():
        result = busy.line(who).run(*words(busy), COLUMNS=str(width))
        assert result.exit_code == 0, (name, result.stderr)
        (rows, columns), *more = drawn
        assert rows, f"{name} shows nothing"
        assert not more
        drawn.clear()
        seen.add(tuple(columns))
        readable(result.stdout, rows, columns, width)
    assert {TABLES[one] for one in seen} == set(TABLES.values()), "a table that no command here draws"


def test_what_is_left_out_of_a_narrow_table_is_named_and_json_has_it(busy: Busy) -> None:
    aino = busy.line("aino")
    narrow, wide = (aino.run("permits", "list", COLUMNS=width).stdout for width in ("80", "200"))
    assert "no room for Organisation, Starts (--json has everything)" in narrow
    assert "no room" not in wide
    assert "Organisation" in wide
    (permit,) = [one for one in aino.json("permits", "list")["items"] if one["id"] == busy.permit]
    assert permit["document"]["organisation"]


def test_a_table_that_no_terminal_shows_has_a_line_for_each_record(busy: Busy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    result = busy.line("auli").run("ledger", "search", "--most", "20", COLUMNS=None)  # type: ignore[arg-type]
    assert [len(re.findall(r"\d{4}-\d\d-\d\d", line)) for line in result.stdout.splitlines()[1:21]] == [1] * 20
    assert max(map(len, result.stdout.splitlines())) > 80


RECORDS: dict[str, tuple[str, Callable[[Busy], list[str]]]] = {
    "whoami": ("aino", lambda busy: ["whoami"]),
    "dataset": ("", lambda busy: ["datasets", "show", busy.line("").rig.dataset]),
    "permit": ("aino", lambda busy: ["permits", "show", busy.permit]),
    "tunnel": ("aino", lambda busy: ["tunnels", "show", busy.tunnel]),
    "release": ("aino", lambda busy: ["releases", "show", busy.release]),
    "head": ("", lambda busy: ["ledger", "head"]),
    "proof": ("auli", lambda busy: ["ledger", "proof", str(busy.entry)]),
}


def texts(value: Any) -> Iterator[str]:
    match value:
        case dict():
            for one in value.values():
                yield from texts(one)
        case list():
            for one in value:
                yield from texts(one)
        case str():
            yield value


@pytest.mark.parametrize("width", ["80", "120"])
def test_no_word_of_a_record_is_broken(busy: Busy, monkeypatch: pytest.MonkeyPatch, width: str) -> None:
    drawn: list[Any] = []
    record = show.record
    monkeypatch.setattr(show, "record", lambda value: (drawn.append(value), record(value))[1])
    for who, words in RECORDS.values():
        shown = busy.line(who).run(*words(busy), COLUMNS=width).stdout
        told = [word for one in texts(drawn.pop()) if one for word in show.text(one).split()]
        assert len(told) > 3
        assert [word for word in told if word not in shown] == []
        assert not [line for line in shown.splitlines() if len(line) > int(width) > max(map(len, line.split())) + 2]


def test_a_checkpoint_is_shown_as_it_would_be_kept(busy: Busy, tmp_path: Path) -> None:
    kept = tmp_path / "checkpoint"
    shown = busy.line("").run("ledger", "head", "--to", str(kept), COLUMNS="80").stdout
    assert kept.read_text().splitlines() == [line.removeprefix("  ") for line in shown.partition("checkpoint\n")[2].splitlines()]


letters = st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Co", "Cn", "Mn", "Me", "Mc", "Zl", "Zp", "Lm", "Sk"]), max_size=60)


@given(
    columns=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=8),
    width=st.integers(40, 160),
    data=st.data(),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_table_holds_it_can_be_read_at_any_width(
    capsys: pytest.CaptureFixture[str], columns: list[tuple[bool, bool]], width: int, data: st.DataObject
) -> None:
    made = tuple(Column(f"H{n}", str(n), prose=prose, spare=spare) for n, (prose, spare) in enumerate(columns))
    value = letters | st.just(ids.new("tun")) | st.just("[red]x[/]")
    rows = data.draw(st.lists(st.fixed_dictionaries({one.path: value for one in made}), min_size=1, max_size=3))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("COLUMNS", str(width))
        show.table(rows, made)
    readable(capsys.readouterr().out, rows, made, width)
