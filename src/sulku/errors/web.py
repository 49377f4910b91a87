"""Signing in, the web and the command line."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sulku.errors.asked import InvalidInputError
from sulku.errors.base import FaultError, RefusalError
from sulku.errors.people import SignInRequiredError


class BadTokenError(SignInRequiredError):
    """An access token that is not ours to accept: of another issuer or audience, expired, or not signed as it must be."""

    code = "bad-token"
    fix = "Sign in again: `sulku login`."


class SignInFailedError(SignInRequiredError):
    """The issuer's answer cannot be relied on, or it refused."""

    code = "sign-in-failed"
    fix = "Start the sign-in again from the page where you were; if it fails again, tell the service desk."


class IssuerUnavailableError(FaultError):
    """The OpenID Connect issuer does not answer, or not with what it must publish."""

    code = "issuer-unavailable"
    fix = "Try again in a minute; who is signed in stays signed in. Operators have been told."


class CrossSiteError(RefusalError):
    """A change was asked for by a page of another site."""

    code = "cross-site"
    fix = "Do it from sulku's own page; if you did, reload that page and try again."


class TooLargeError(InvalidInputError):
    """A request's body is larger than this address takes."""

    code = "too-large"
    status = 413
    fix = "Send less at a time; the message names the most that is taken."


class TooManyAttemptsError(RefusalError):
    """Too many requests of people who have not signed in were refused just now."""

    code = "too-many-attempts"
    status = 429
    fix = "Wait a minute, or sign in."


class WrongMethodError(RefusalError):
    """This address is not asked like that."""

    code = "wrong-method"
    status = 405
    exit = 2
    fix = "Use one of the methods in the Allow header."

    def __init__(self, method: str, allowed: Collection[str]) -> None:
        """Keep the methods that are ``allowed``."""
        super().__init__(f"this address takes no {method[:20]}")
        self.allowed = tuple(sorted(allowed))


class UnexpectedError(FaultError):
    """Something that nobody foresaw; the log has it under the reference."""

    code = "unexpected"
    status = 500
    fix = "Tell the service desk the reference of this message; nothing that was not confirmed was saved."


class ServerUnreachableError(FaultError):
    """The broker does not answer at the address that this command line was told."""

    code = "server-unreachable"
    fix = "Check the address (`sulku whoami` shows it; SULKU_SERVER or --server changes it) and the network."


class ConfirmationNeededError(InvalidInputError):
    """An act that cannot be undone was asked for without --yes, and nobody is there to ask."""

    code = "confirmation-needed"
    fix = "Add --yes once you are sure."


class AnsweredNoError(RefusalError):
    """The broker said no to the command line; its code, reasons and remedy are kept.

    Attributes:
        document: The whole problem document (RFC 9457).
    """

    def __init__(self, document: dict[str, Any], exit: int) -> None:
        """Keep what the broker said, and the exit status that its code stands for."""
        super().__init__(str(document.get("detail") or document.get("title") or "the broker refused"))
        self.document = document
        self.code = str(document.get("code", "refused"))  # type: ignore[misc]  # this one relays another's
        self.status = int(document.get("status", 403))  # type: ignore[misc]
        self.exit = exit  # type: ignore[misc]

    def remedy(self) -> str:
        """Repeat the broker's remedy."""
        return str(self.document.get("remedy") or self.fix)
