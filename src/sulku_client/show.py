"""What the command line prints: tables and records for people, JSON for programs, and every no with its what, why and what next."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import orjson
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sulku.errors import AnsweredNoError, DeniedError, InvalidInputError, RuleError, SulkuError

Column = tuple[str, str]
"""A heading and where its value is: ``document.title``, dots going deeper."""

OUT: Final = Console()
ERR: Final = Console(stderr=True)
_REFERENCE: Final = re.compile(r"[a-z]{3}_")
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
    """Print records as a table; how many there are, below."""
    made = Table(box=None, header_style="bold", pad_edge=False)
    for heading, path in columns:
        whole = any(_REFERENCE.match(str(dig(row, path))) for row in rows)  # a reference in two lines cannot be copied
        made.add_column(heading, overflow="fold", no_wrap=whole)
    for row in rows:
        made.add_row(*(_cell(dig(row, path)) for _, path in columns))
    if rows:
        OUT.print(made)
    OUT.print(f"{len(rows)} in all" if rows else "Nothing here yet.", style="dim", highlight=False)


def _cell(value: object) -> str:
    shown = escape(text(value))
    tone = _TONES.get(shown)
    return f"[{tone}]{shown}[/]" if tone else shown


def record(value: Mapping[str, Any]) -> None:
    """Print one record, a line a field; what is empty is left out."""
    made = Table(box=None, show_header=False, pad_edge=False)
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, item in _flat(value):
        made.add_row(escape(name.replace("_", " ")), _cell(item))
    OUT.print(made)


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
