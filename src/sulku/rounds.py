"""What changed between two rounds: between the answers, or the files, that were sent last and those that were sent before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from sulku import applications, releases
from sulku.codec import Plain, plain
from sulku.events import Erased, Event
from sulku.forms import Form
from sulku.releases import Item, Reason, Release


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of an application that differs; plain values."""

    field: str
    before: Plain
    now: Plain


@dataclass(frozen=True, slots=True)
class AnswersChanged:
    """What differs in an application since round ``since`` (0: there was none before), and what was asked for then."""

    since: int = 0
    points: tuple[str, ...] = ()
    answers: tuple[Answer, ...] = ()


class Fate(StrEnum):
    """What became of a file."""

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    NEW = "new"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class File:
    """One file in two rounds.

    Attributes:
        name: Its name now; if it is gone, its last.
        was: Its name before, if it had another.
        output: Its reference in this round; empty if it is gone.
        before: SHA-256 (hex) of its bytes in the earlier round, as they left the workspace; of what they were rebuilt to if the
            bytes are the same and only that differs; empty if it is new.
        now: The same in this round; empty if it is gone.
    """

    name: str
    fate: Fate
    was: str = ""
    output: str = ""
    before: str = ""
    now: str = ""


@dataclass(frozen=True, slots=True)
class FilesChanged:
    """What became of a release's files since round ``since`` (0: there was none before), and what was asked for then."""

    since: int = 0
    points: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    files: tuple[File, ...] = ()


def of_application(history: Sequence[Event], now: applications.Application) -> AnswersChanged:
    """Return what changed in ``now`` since the round before; while its people write again, since what they sent last.

    Args:
        history: Its events, oldest first.
    """
    sent = [one for one in history if isinstance(one, applications.Submitted)]
    writing = now.state is applications.State.RETURNED
    if len(sent) < (1 if writing else 2) or _erased(history):
        return AnswersChanged()
    before, form = (sent[-1], now.form) if writing else (sent[-2], sent[-1].form)
    points = next((one.points for one in reversed(history) if isinstance(one, applications.Returned)), ())
    return AnswersChanged(before.round, points, answers(before.form, form))


def answers(before: Form, now: Form) -> tuple[Answer, ...]:
    """Return the answers that differ, in the order of the form."""
    pairs = [(one.name, getattr(before, one.name), getattr(now, one.name)) for one in fields(Form)]
    return tuple(Answer(name, plain(old), plain(new)) for name, old, new in pairs if old != new)


def of_release(history: Sequence[Event], now: Release) -> FilesChanged:
    """Return what became of the files of ``now`` since the round before.

    Args:
        history: Its events, oldest first; the earlier round's files are as they stood when it ended, rebuilt.
    """
    sent = [n for n, one in enumerate(history) if isinstance(one, releases.Submitted)]
    if len(sent) < 2 or _erased(history):
        return FilesChanged()
    before = Release(now.id)
    for one in history[: sent[-1]]:
        before = releases.evolve(before, one)
    return FilesChanged(before.round, before.points, before.reasons, files(before.items, now.items))


def files(before: Sequence[Item], now: Sequence[Item]) -> tuple[File, ...]:
    """Return what became of each file: those of now in their order, then those that are gone.

    A file is known by its bytes and name; else by its bytes, under a new name; else by its name, with other bytes.
    """
    left, found = list(before), dict[int, File]()
    ways: tuple[Callable[[Item], Any], ...] = (lambda item: (item.frozen, item.name), lambda item: item.frozen, lambda item: item.name)
    for same in ways:
        for n, item in enumerate(now):
            earlier = next((one for one in left if same(one) == same(item)), None) if n not in found else None
            if earlier is not None:
                left.remove(earlier)
                found[n] = _compared(earlier, item)
    new = {n: File(item.name, Fate.NEW, output=item.output, now=item.frozen) for n, item in enumerate(now) if n not in found}
    gone = [File(item.name, Fate.GONE, before=item.frozen) for item in left]
    return (*(one for _, one in sorted((found | new).items())), *gone)


def _compared(before: Item, now: Item) -> File:
    was = before.name if before.name != now.name else ""
    if before.frozen != now.frozen:
        return File(now.name, Fate.CHANGED, was, now.output, before.frozen, now.frozen)
    if before.rebuilt and now.rebuilt and before.rebuilt != now.rebuilt:  # the same bytes, checked and rebuilt by other rules
        return File(now.name, Fate.CHANGED, was, now.output, before.rebuilt, now.rebuilt)
    return File(now.name, Fate.UNCHANGED, was, now.output, before.frozen, now.frozen)


def _erased(history: Sequence[Event]) -> bool:
    return any(isinstance(one, Erased) for one in history)
