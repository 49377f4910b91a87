"""What the command line prints: tables and records for people, JSON for programs, and every no with its what, why and what next."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from typing import Any, Final, NamedTuple

import orjson
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from sulku.errors import AnsweredNoError, DeniedError, InvalidInputError, RuleError, SulkuError


class Column(NamedTuple):
    """One column of a table.

    Attributes:
        heading: What stands above it.
        path: Where its value is: ``document.title``, dots going deeper.
        prose: Its value may be broken between words. Any other is shown whole, since people copy it.
        spare: It is left out where a record would not fit on one line otherwise.
    """

    heading: str
    path: str
    prose: bool = False
    spare: bool = False


OUT: Final = Console()
ERR: Final = Console(stderr=True)
_GAP: Final = 2  # cells between two columns, and by which the further lines of a record are moved in
_PROSE: Final = 16  # cells in which a text can still be read
_WORD: Final = 64  # cells of the longest word that is not broken: a digest in hexadecimal
_LABEL: Final = 28  # cells for the names of a record's fields; a longer one has its value below
_TONES: Final = {
    "active": "green", "approved": "green", "open": "green", "listed": "green", "released": "green", "approve": "green",
    "refused": "red", "revoked": "red", "left": "red", "suspended": "yellow", "returned": "yellow", "closing": "yellow",
}  # fmt: skip


def as_json(value: object) -> None:
    """Print ``value`` as JSON, one document."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def dig(record: object, path: str) -> Any:
    """Return what is at ``path`` in ``record``; ``None`` if there is nothing."""
    for name in path.split("."):
        if not isinstance(record, Mapping):
            return None
        record = record.get(name)
    return record


def text(value: object) -> str:
    """Return a value for people: times in the reader's zone, lists joined, nothing as a dash."""
    match value:
        case None | "" | [] | {}:
            return "–"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(text(item) for item in value)
        case dict():
            return "; ".join(f"{name}: {text(item)}" for name, item in value.items())
        case str() if len(value) == 24 and value.endswith("Z"):
            return _local(value)
    return str(value)


def _local(stamp: str) -> str:
    try:
        return datetime.fromisoformat(stamp).astimezone().strftime("%Y-%m-%d %H:%M %Z")
    except ValueError:
        return stamp


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> None:
    """Print records as a table as wide as the terminal; how many there are, below.

    Nothing is cut. Where a record does not fit on one line, it goes without the spare columns; where that is not enough, it
    takes several lines, each as far in from the left as its headings are. What does not go to a terminal is a line a record.
    """
    if not rows:
        OUT.print("Nothing here yet.", style="dim", highlight=False)
        return
    cells = [[" ".join(text(dig(row, one.path)).split()) for one in columns] for row in rows]
    needs = [_Need.of(one, [row[n] for row in cells]) for n, one in enumerate(columns)]
    lines, left_out = _arrange(needs, _room())
    for line in lines:
        _write(line, [Text(columns[n].heading, "bold") for n in line.columns])
    for row in cells:
        for line in lines:
            _write(line, [Text(row[n], _TONES.get(row[n], "")) for n in line.columns])
    names = ", ".join(columns[n].heading for n in left_out)
    more = f"; no room for {names} (--json has everything)" if names else ""
    OUT.print(f"{len(rows)} in all{more}", style="dim", highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class _Need:
    """How many cells a column wants, and the least that it can be read in."""

    most: int
    least: int
    spare: bool

    @classmethod
    def of(cls, column: Column, values: Sequence[str]) -> _Need:
        most = max(map(cell_len, (column.heading, *values)))
        word = max(map(cell_len, " ".join((column.heading, *values)).split()))
        return cls(most, min(most, max(_PROSE, min(word, _WORD))) if column.prose else most, column.spare)


@dataclass(frozen=True, slots=True)
class _Line:
    """One of the lines that a record takes: which columns, how wide each, and how far in."""

    columns: tuple[int, ...]
    widths: tuple[int, ...]
    indent: int


def _arrange(needs: Sequence[_Need], room: int) -> tuple[list[_Line], list[int]]:
    """Return the lines of a record, and which columns are left out."""
    every = range(len(needs))
    for chosen in (tuple(every), tuple(n for n in every if not needs[n].spare)):
        if chosen and _least(needs, chosen) <= room:
            return [_stretched(needs, chosen, room, 0)], [n for n in every if n not in chosen]
    lines, at, indent = list[_Line](), 0, 0
    while at < len(needs):
        end = at + 1
        while end < len(needs) and _least(needs, range(at, end + 1)) + indent <= room:
            end += 1
        lines.append(_stretched(needs, tuple(range(at, end)), room, indent))
        at, indent = end, _GAP
    return lines, []


def _least(needs: Sequence[_Need], chosen: Sequence[int]) -> int:
    return sum(needs[n].least for n in chosen) + _GAP * (len(chosen) - 1)


def _stretched(needs: Sequence[_Need], chosen: tuple[int, ...], room: int, indent: int) -> _Line:
    """Return a line whose prose has the room that is left over."""
    widths, free = [needs[n].least for n in chosen], room - indent - _least(needs, chosen)
    for place, n in enumerate(chosen):
        more = max(0, min(free, needs[n].most - widths[place]))
        widths[place], free = widths[place] + more, free - more
    return _Line(chosen, tuple(widths), indent)


def _write(line: _Line, cells: Sequence[Text]) -> None:
    """Print one line of a record; prose that is too wide for its column goes on below."""
    folded = [
        list(cell.wrap(OUT, width)) if cell.cell_len > width else [cell] for cell, width in zip(cells, line.widths, strict=True)
    ]
    for part in zip_longest(*folded, fillvalue=Text()):
        made = Text(" " * line.indent)
        for cell, width in zip(part, line.widths, strict=True):
            made.append_text(cell).append(" " * (width - cell.cell_len + _GAP))
        made.rstrip()
        OUT.print(made, soft_wrap=True, highlight=False)


def _room() -> int:
    """Return how many cells a line may have; without end where no terminal shows it, so that programs get a line a record."""
    said = os.environ.get("COLUMNS", "")  # first: a terminal that calls itself dumb is taken for 80 wide, whatever it says
    return int(said) if said.isdigit() else OUT.width if OUT.is_terminal else 1_000_000


def record(value: Mapping[str, Any]) -> None:
    """Print one record, a line a field; what is empty is left out, and no word of a value is ever broken."""
    fields = [(name.replace("_", " "), text(item)) for name, item in _flat(value)]
    label = min(max((len(name) for name, _ in fields), default=0), _LABEL)
    for name, shown in fields:
        word = max(map(len, shown.split()), default=0)
        beside = len(name) <= label and label + _GAP + word <= _room()
        indent = " " * (label + _GAP if beside else _GAP)
        lines = [part for line in shown.splitlines() for part in _words(line, _room() - len(indent))]
        head = f"{name:{label}}  {lines.pop(0)}" if beside and lines else name
        made = Text(head).append("".join(f"\n{indent}{one}" for one in lines))
        made.stylize("bold", 0, len(name))
        if tone := _TONES.get(shown):
            made.stylize(tone, len(head) - len(shown) if beside else len(head))
        OUT.print(made, soft_wrap=True, highlight=False)


def _words(line: str, width: int) -> list[str]:
    """Break a line between words; one with a word that does not fit, such as a signature, stays as it is."""
    if max(map(len, line.split()), default=0) > width:
        return [line]
    return textwrap.wrap(line, max(width, 1), break_long_words=False, break_on_hyphens=False) or [""]


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _flat(item, f"{prefix}{name}.")
        elif isinstance(item, list) and item and isinstance(item[0], Mapping):
            for number, one in enumerate(item, 1):
                yield from _flat(one, f"{prefix}{name}.{number}.")
        elif item not in (None, "", [], {}):
            yield prefix + name, item


def line(said: str) -> None:
    """Print one line for people."""
    OUT.print(said, markup=False, highlight=False, soft_wrap=True)


def refusal(error: SulkuError, *, json: bool = False) -> None:
    """Print what was refused, why and what next, on the error stream."""
    document = error.document if isinstance(error, AnsweredNoError) else _document(error)
    if json:
        sys.stderr.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    ERR.print(
        f"[bold red]No:[/] {escape(str(document['detail']))} [dim]({escape(str(document['code']))})[/]", highlight=False, soft_wrap=True
    )
    for wrong in document.get("fields", ()):
        ERR.print(f"  {wrong['field']}: {wrong['problem']}", markup=False, highlight=False, soft_wrap=True)
    if document.get("reasons"):
        ERR.print(f"Why: {', '.join(document['reasons'])}", markup=False, highlight=False, soft_wrap=True)
    ERR.print(f"Next: {document.get('remedy') or error.remedy()}", markup=False, highlight=False, soft_wrap=True)
    for name in ("decision", "reference"):
        if document.get(name):
            ERR.print(f"{name.capitalize()}: {document[name]}", style="dim", markup=False, highlight=False)


def _document(error: SulkuError) -> dict[str, Any]:
    reasons = error.reasons if isinstance(error, DeniedError) else (error.rule,) if isinstance(error, RuleError) else ()
    fields = error.fields if isinstance(error, InvalidInputError) else ()
    return {
        "code": error.code,
        "status": error.status,
        "detail": str(error),
        "remedy": error.remedy(),
        "fields": [{"field": field, "problem": problem} for field, problem in fields],
        "reasons": list(reasons),
    }


@contextmanager
def progress(what: str, total: int, *, size: bool = False) -> Iterator[Callable[[int], None]]:
    """Show how far something is, on a terminal and where the total is known; yields what sets how much is done."""
    if not ERR.is_terminal or total <= 0:
        yield lambda done: None
        return
    amount = DownloadColumn(binary_units=True) if size else MofNCompleteColumn()
    with Progress(TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn(), console=ERR, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
