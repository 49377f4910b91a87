"""Samples, rows of the table, and what the machine was doing meanwhile."""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Samples:
    """Measurements of one thing, in seconds unless ``unit`` says otherwise."""

    values: tuple[float, ...]
    unit: str = "s"

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    def at(self, share: float) -> float:
        """Return the value below which ``share`` (0 to 1) of the measurements lie."""
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def __str__(self) -> str:
        if len(self.values) == 1:
            return written(self.median, self.unit)
        scale, unit = (1000, "ms") if self.unit == "s" and self.median < 1 else (1, self.unit)
        middle, least, most = (_digits(value * scale) for value in (self.median, min(self.values), max(self.values)))
        return f"{middle} {unit} ({least}–{most})"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; ``met`` is ``None`` where there is no goal."""

    what: str
    ours: str
    other: str = ""
    ratio: str = ""
    goal: str = ""
    met: bool | None = None


def written(value: float, unit: str) -> str:
    """Return a number with its unit, with three digits that matter."""
    if unit == "s" and value < 1:
        value, unit = value * 1000, "ms"
    return f"{_digits(value)} {unit}".strip()


def _digits(value: float) -> str:
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{digits}f}"


def timed(do: Callable[[], T]) -> tuple[T, float]:
    """Return what ``do`` returned, and how many seconds it took on the wall."""
    began = time.perf_counter()
    found = do()
    return found, time.perf_counter() - began


def both(do: Callable[[], object]) -> tuple[float, float]:
    """Return how many seconds ``do`` took on the wall, and of this process's processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    do()
    return time.perf_counter() - wall, time.process_time() - cpu


def per_second(count: int, seconds: Iterable[float]) -> Samples:
    """Return rates: ``count`` things in each of ``seconds``."""
    return Samples(tuple(count / one for one in seconds), "/s")


def fsync(folder: Path, times: int = 200) -> Samples:
    """Return how long the disk under ``folder`` takes to say that 4 KiB more of a growing file are safe."""
    found = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(times):
            os.write(file.fileno(), bytes(4096))
            found.append(timed(lambda: os.fsync(file.fileno()))[1])
    return Samples(tuple(found))


def spent(*processes: int) -> float:
    """Return the processor time, in seconds, that processes and their ended children have used."""
    ticks = 0
    for process in processes:
        after_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(int(one) for one in after_name[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def machine() -> str:
    """Return what the numbers were taken on."""
    info = Path("/proc/cpuinfo").read_text()
    names = {line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    model = ", ".join(sorted(names)) or platform.machine()
    return f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, Linux {platform.release()}, Python {platform.python_version()}"


def load() -> str:
    """Return the load averages of 1, 5 and 15 minutes."""
    return " ".join(f"{one:.1f}" for one in os.getloadavg())
