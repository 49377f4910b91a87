"""A process's pulse: each of its clocks stamps a file whenever it has gone round, and whoever asks sees which have stopped.

``python -m broker.adapters.pulse FOLDER SECONDS NAME…`` exits 1, and says which, if one of those has not gone round for so long: a
worker whose clock is stuck listens nowhere and looks alive from outside. A clock that goes round and fails each time still beats:
what it lacks is elsewhere, and would lack after a restart too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

from broker.adapters.clock import monotonic


class Pulse:
    """The files of one process; without a folder it beats for nobody."""

    def __init__(self, folder: Path | None) -> None:
        """Forget what a process before this one left in ``folder``."""
        self._folder = folder
        if folder is not None:
            folder.mkdir(mode=0o700, exist_ok=True)
            for old in folder.iterdir():
                old.unlink()

    def of(self, name: str) -> Callable[[], None]:
        """Return what the clock ``name`` calls when it has gone round."""
        return partial(self._beat, name)

    def _beat(self, name: str) -> None:
        if self._folder is None:
            return
        draft = self._folder / f".{name}"
        with suppress(OSError):  # a clock does not stop for that; if it lasts, whoever asks sees no beat
            draft.write_text(f"{monotonic():.3f}")
            draft.replace(self._folder / name)


def stopped(folder: Path, seconds: float, names: Iterable[str], now: float) -> list[str]:
    """Return those of ``names`` that have not beaten in the last ``seconds`` before ``now`` (of ``clock.monotonic``), or never."""
    return [name for name in names if not (folder / name).is_file() or now - float((folder / name).read_text()) > seconds]


def main(folder: str, seconds: str, *names: str) -> int:
    """Return the exit status: 1 if one of ``names`` has stopped."""
    found = stopped(Path(folder), float(seconds), names, monotonic())
    if found:
        sys.stderr.write(f"not gone round for {seconds} s: {', '.join(found)}\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
