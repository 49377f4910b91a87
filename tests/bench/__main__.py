"""``make bench``: measure everything, or what ``--only`` names, and print one table. Judges nothing: it ends with 0 if it could measure."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from tests.bench import changes, ending, figures, kernel, ledger, opening, policy
from tests.bench.figures import Row
from tests.bench.site import Site

out = Console(width=None if sys.stdout.isatty() else 170, highlight=False)
WHAT: dict[str, Callable[[Site], Iterator[Row]]] = {
    "policy": lambda _: policy.run(),
    "change": lambda _: changes.run(),
    "ledger": lambda _: ledger.run(),
    "opening": opening.run,
    "kernel": kernel.run,
    "ending": ending.run,
}


def main() -> int:
    """Return 0 if everything could be measured, 1 if something failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=WHAT, help="measure this alone; repeatable")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON, too")
    told = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that every process that was started is ended
    site, rows, failed = Site(), [], []
    before, began = figures.load(), time.monotonic()
    try:
        for name in told.only or WHAT:
            out.print(f"[dim]{time.monotonic() - began:5.0f} s  measuring {name} …[/dim]")
            try:
                rows += list(WHAT[name](site))
            except Exception:
                failed.append(name)
                out.print_exception(max_frames=6)
    finally:
        with suppress(KeyboardInterrupt):
            site.close()
    show(rows, before, time.monotonic() - began)
    if told.json:
        print(json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False))
    if failed:
        out.print(f"[red]could not be measured: {', '.join(failed)}[/red]")
    return 1 if failed else 0


def show(rows: list[Row], before: str, seconds: float) -> None:
    """Print the table, and what it was measured on."""
    table = Table("what / against what", "ours: median (least–most)", "other", "ratio", "goal", "met?", title="sulku, measured")
    for row in rows:
        met = {None: "", True: "[green]yes[/green]", False: "[red]no[/red]"}[row.met]
        style = "dim" if row.what.startswith(" ") else ""
        table.add_row(row.what, row.ours, row.other, row.ratio, row.goal, met, style=style)
    out.print(table)
    out.print(f"{figures.machine()}\nload average {before} before, {figures.load()} after (1, 5, 15 minutes); {seconds:.0f} s in all")
    out.print("[dim]The sides of a comparison take turns in one run, so a busy machine slows both: trust ratios before figures.[/dim]")


if __name__ == "__main__":
    sys.exit(main())
