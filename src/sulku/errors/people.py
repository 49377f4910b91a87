"""Who asks: not signed in, not allowed, or nothing there for them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sulku.errors.base import RefusalError


class SignInRequiredError(RefusalError):
    """Nobody is signed in, or the sign-in has ended."""

    code = "sign-in-required"
    status = 401
    fix = "Sign in and try again; nothing you wrote is lost."


class BoundElsewhereError(SignInRequiredError):
    """A sign-in that brings somebody's e-mail address, and is not the one that they first signed in with."""

    code = "bound-elsewhere"
    fix = (
        "Sign in with the account that you used here before; if your organisation gave you a new one,"
        " ask an operator to release the old sign-in."
    )


class DeniedError(RefusalError):
    """Policy said no; ``reasons`` are the codes that this reader may see."""

    code = "denied"
    refusal: Any = None  # a sulku.clearance.Refusal, set by whoever asked policy
    fix = "Read the reasons; each names what would have to change, or who may do this."

    def __init__(self, action: str, reasons: Collection[str] = (), *, decision: str = "") -> None:
        """Keep the sorted reason codes and the id of the decision."""
        self.reasons = tuple(sorted(reasons))
        self.action = action
        self.decision = decision
        super().__init__(f"policy refused {action}: {', '.join(self.reasons) or 'no rule allows it'}")


class NotFoundError(RefusalError):
    """There is no such thing, or the reader may not know that there is."""

    code = "not-found"
    status = 404
    exit = 4
    fix = "Check the reference; if it was sent to you, ask the sender whether you were given access."
