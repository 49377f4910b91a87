"""The thing has moved on, or its lifecycle has no such step."""

from __future__ import annotations

from collections.abc import Collection

from sulku.errors.base import RefusalError


class IllegalMoveError(RefusalError):
    """The lifecycle has no such step from the present state."""

    code = "illegal-move"
    status = 409
    exit = 5

    def __init__(self, *, noun: str, state: str, move: str, legal: Collection[str]) -> None:
        """Keep the moves that are legal now, sorted."""
        super().__init__(f"cannot {move} the {noun} while it is {state}")
        self.legal = tuple(sorted(legal))

    def remedy(self) -> str:
        """Name the steps that are open."""
        return f"Open now: {', '.join(self.legal) or 'nothing; this record is closed'}."


class StaleError(RefusalError):
    """Someone else acted first; what you saw is not what is there."""

    code = "stale"
    status = 409
    exit = 5
    fix = "Read the page again: someone acted since you opened it. Nothing you wrote was saved."


class RepeatedKeyError(RefusalError):
    """An idempotency key came back with a different request."""

    code = "repeated-key"
    status = 409
    exit = 5
    fix = "Use a new Idempotency-Key for a new request; repeat the old request unchanged to see its result."


class RuleError(RefusalError):
    """A rule of the lifecycle itself refuses, whoever asks; ``rule`` is its stable code."""

    code = "rule"
    status = 409
    exit = 5

    def __init__(self, rule: str, message: str, fix: str = "") -> None:
        """Keep ``rule`` and the remedy ``fix``."""
        super().__init__(message)
        self.rule = rule
        self._fix = fix

    def remedy(self) -> str:
        """Say what would satisfy the rule."""
        return self._fix or self.fix


class PermitNotLiveError(RefusalError):
    """The permit does not allow work now; ``why`` is its state, or says when it begins."""

    code = "permit-not-live"
    fix = "Look at the permit: it says when it holds, and who can resume or renew it."

    def __init__(self, permit: str, why: str) -> None:
        """Keep ``why``."""
        super().__init__(f"permit {permit} is {why}")
        self.why = str(why)
