"""Checking what is asked, all of it at once: each problem names its field and begins with a stable code."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Any, Final

from sulku.disclosure.files import safe_name
from sulku.errors import InvalidInputError, UnsafeNameError
from sulku.texts import clean

EXACT: Final = 2**53 - 1  # the largest integer that every reader of JSON reads alike
MOST_TOLD: Final = 50


class Problem(StrEnum):
    """What can be wrong with a field; the values are part of the contract and never change their meaning."""

    MISSING = "missing"
    WRONG_TYPE = "wrong-type"
    TOO_LONG = "too-long"
    OUT_OF_RANGE = "out-of-range"
    UNSAFE_TEXT = "unsafe-text"
    MALFORMED = "malformed"
    UNKNOWN_VALUE = "unknown-value"
    UNKNOWN_FIELD = "unknown-field"
    DUPLICATE = "duplicate"


def told(code: Problem, what: str) -> str:
    """Return a problem as it is shown: ``too-long: at most 200 characters``."""
    return f"{code}: {what}"


class Checks:
    """Collects what is wrong. Types are exact: what is kept must read back as what it was."""

    def __init__(self) -> None:
        """Begin with no problem."""
        self._problems: list[tuple[str, str]] = []

    def text(self, at: str, value: Any, *, most: int, least: int = 0, lines: bool = False) -> bool:
        """Check a text of ``least`` to ``most`` characters without invisible ones; say whether it is one."""
        if type(value) is not str:
            return self._wrong(at, Problem.WRONG_TYPE, "must be a text")
        if len(value) > most:
            return self._wrong(at, Problem.TOO_LONG, f"{len(value)} characters; the most is {most}")
        try:
            shown = clean(value, most=most * 4, lines=lines)
        except InvalidInputError as error:
            return self._wrong(at, Problem.UNSAFE_TEXT, str(error))
        return len(shown) >= least or self._wrong(at, Problem.MISSING, f"give at least {least} characters" if least > 1 else "give one")

    def shaped(self, at: str, value: Any, pattern: str, form: str, *, most: int = 200) -> bool:
        """Check a text that is wholly of a ``pattern``, which ``form`` describes."""
        if not self.text(at, value, most=most, least=1):
            return False
        return bool(re.fullmatch(pattern, value)) or self._wrong(at, Problem.MALFORMED, f"must be {form}")

    def named(self, at: str, value: Any) -> bool:
        """Check a name that a file or folder may have."""
        if not self.text(at, value, most=200, least=1):
            return False
        try:
            return bool(safe_name(value))
        except UnsafeNameError as error:
            return self._wrong(at, Problem.MALFORMED, str(error))

    def number(self, at: str, value: Any, *, least: int = 0, most: int = EXACT) -> bool:
        """Check a whole number."""
        if type(value) is not int:
            return self._wrong(at, Problem.WRONG_TYPE, "must be a whole number")
        return least <= value <= most or self._wrong(at, Problem.OUT_OF_RANGE, f"must be {least} to {most}")

    def choice(self, at: str, value: Any, known: Collection[str]) -> bool:
        """Check one of a few values."""
        if not isinstance(value, str):
            return self._wrong(at, Problem.WRONG_TYPE, "must be a text")
        return value in known or self._wrong(at, Problem.UNKNOWN_VALUE, f"must be one of {', '.join(known)}")

    def instance(self, at: str, value: Any, kind: type) -> bool:
        """Check a record of exactly one kind."""
        return type(value) is kind or self._wrong(at, Problem.WRONG_TYPE, f"must be of the kind {kind.__name__.lower()}")

    def rows(self, at: str, value: Any, kind: type, *, most: int, least: int = 0) -> list[tuple[str, Any]]:
        """Check a tuple of ``least`` to ``most`` values of one kind; return those that are, each with its place."""
        if type(value) is not tuple:
            self._wrong(at, Problem.WRONG_TYPE, "must be a list")
            return []
        if len(value) > most:
            self._wrong(at, Problem.TOO_LONG, f"{len(value)} of them; the most is {most}")
            return []
        if len(value) < least:
            self._wrong(at, Problem.MISSING, f"give at least {least}")
        return [(place, one) for n, one in enumerate(value) if self.instance(place := f"{at}[{n}]", one, kind)]

    def distinct(self, rows: Iterable[tuple[str, Any]]) -> None:
        """Check that no value comes twice; each comes with its place."""
        seen: set[Any] = set()
        for at, value in rows:
            if type(value) is not str:
                continue  # said already
            if value in seen:
                self._wrong(at, Problem.DUPLICATE, f"{value[:60]} is there already")
            seen.add(value)

    def require(self, said: str) -> None:
        """End the checking.

        Raises:
            InvalidInputError: Something is wrong; ``fields`` names each, the first ``MOST_TOLD`` of them.
        """
        if not self._problems:
            return
        more = len(self._problems) - MOST_TOLD
        shown = self._problems[:MOST_TOLD] + ([("", f"and {more} more")] if more > 0 else [])
        raise InvalidInputError(said, fields=shown)

    def _wrong(self, at: str, code: Problem, what: str) -> bool:
        self._problems.append((at, told(code, what)))
        return False
