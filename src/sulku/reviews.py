"""What a reviewer looks at and what they say of it: items, marks bound to digests, coded reasons."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Verdict(StrEnum):
    """What a reviewer says of one file."""

    APPROVE = "approve"
    CHANGE = "change"


class Reason(StrEnum):
    """Why a file must change; coded, so that reasons can be counted and taught."""

    SMALL_COUNT = "small-count"
    DOMINANCE = "dominance"
    DIFFERENCING = "differencing"
    GROUP = "group-disclosure"
    LOW_DEGREES = "low-degrees-of-freedom"
    ROW_LEVEL = "row-level-data"
    IDENTIFIER = "identifier"
    UNCLEAR = "unclear"
    BEYOND_PURPOSE = "beyond-purpose"
    FORMAT = "format"


@dataclass(frozen=True, slots=True)
class Item:
    """One output in a release. ``frozen`` and ``rebuilt`` are SHA-256 (hex); what is judged is ``rebuilt``."""

    output: str
    name: str
    frozen: str
    rebuilt: str = ""
    blocked: bool | None = None  # None until the automatic checks are through


@dataclass(frozen=True, slots=True)
class Mark:
    """What a reviewer says of one output, bound to the digest they looked at."""

    output: str
    rebuilt: str
    verdict: Verdict
    reason: Reason | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Review:
    """One reviewer's verdict on every file of a round."""

    by: str
    marks: tuple[Mark, ...]
    at: datetime

    @property
    def approves(self) -> bool:
        """Whether every file may leave, says this reviewer."""
        return all(mark.verdict is Verdict.APPROVE for mark in self.marks)


def digest(items: tuple[Item, ...]) -> str:
    """Return SHA-256 (hex) over the outputs and what they were rebuilt to, in order."""
    return hashlib.sha256("\n".join(f"{item.output} {item.rebuilt}" for item in items).encode()).hexdigest()
