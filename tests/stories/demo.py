"""``make demo``: the whole story live on this machine, then (with a terminal) an installation to try in a browser."""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from tests.stories.installation import PEOPLE, Installation
from tests.stories.story import Story, Told

STEPS = {
    1: "Three real datasets are catalogued",
    2: "A researcher applies; two stewards decide; a signed permit",
    3: "A tunnel opens: proved closed, then the data, then she enters",
    4: "A real analysis, and every way out tried and refused",
    5: "Results: checked, returned, corrected, reviewed blind, released",
    6: "Deadlines pass; whichever clock is killed, the others end the tunnel",
    7: "The auditor proves all of it, offline",
}
out = Console(highlight=False, soft_wrap=True)


class Teller:
    """Prints each line as it happens, and a sign of life every few seconds while nothing does."""

    def __init__(self) -> None:
        self.began = self.last = time.monotonic()
        self.step = 0
        self.quiet = threading.Event()
        threading.Thread(target=self._live, daemon=True).start()

    def tell(self, told: Told) -> None:
        """Print one line."""
        if told.step != self.step:
            self.step = told.step
            out.print(f"\n[bold]{told.step}  {STEPS[told.step]}[/bold]")
        colour = "green" if not told.said.startswith("refused") else "yellow"
        out.print(f"   {told.who:<24} {told.what:<58} [{colour}]{told.said}[/{colour}]  [dim]{told.seconds:.2f} s[/dim]")
        self.last = time.monotonic()

    def _live(self) -> None:
        while not self.quiet.wait(4):
            if time.monotonic() - self.last > 6:
                out.print(f"   [dim]… {time.monotonic() - self.began:.0f} s[/dim]")


def main() -> int:
    """Tell the story; 0 if all of it came true."""
    teller = Teller()
    state = Path(tempfile.mkdtemp(prefix="sulku-demo-"))
    out.print("[bold]sulku[/bold]: starting broker, gateway, hub and the development sign-in …")
    with Installation(keep=state) as at, tempfile.TemporaryDirectory() as scratch:
        out.print(f"   ready after {time.monotonic() - teller.began:.1f} s, everything on this machine, state in {state}")
        story = Story(at, tell=teller.tell)
        story.run(Path(scratch))
        teller.quiet.set()
        summary(story, time.monotonic() - teller.began)
        if sys.stdin.isatty() and sys.stdout.isatty():
            serve(at)
    shutil.rmtree(state, ignore_errors=True)
    return 0


def summary(story: Story, seconds: float) -> None:
    """Print what was shown, step by step."""
    table = Table("step", "what was shown", "lines", "refused, as it must", "seconds", title="All seven steps came true")
    for step, title in STEPS.items():
        lines = [one for one in story.told if one.step == step]
        refused = sum(one.said.startswith(("refused", "cut")) for one in lines)
        table.add_row(str(step), title, str(len(lines)), str(refused or ""), f"{sum(one.seconds for one in lines):.1f}")
    out.print(table)
    out.print(f"{len(story.told)} lines in {seconds:.0f} s; application {story.application}, permit {story.permit}, release {story.release}")


def serve(at: Installation) -> None:
    """Keep serving until Ctrl-C, for a person with a browser."""
    names = "\n".join(f"  {name:<14} {role:<11} {organisation}" for role, name, _, organisation in PEOPLE)
    text = f"Open [bold]{at.settings.url}[/bold] in a browser on this machine and sign in as\n\n{names}\n\nCtrl-C ends it."
    out.print(Panel(text, title="Try it", expand=False))
    at.running.wait()


if __name__ == "__main__":
    sys.exit(main())
