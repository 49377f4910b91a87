"""What the gateway refuses, and what it misses."""

from __future__ import annotations

from sulku.errors.base import FaultError, RefusalError


class BrokerUnavailableError(FaultError):
    """The broker does not answer, so its record cannot be relied on; nothing passes."""

    code = "broker-unavailable"
    fix = "Your work is kept. Try again in a minute; operators have been told."


class RelayedRefusalError(RefusalError):
    """The broker said no to the gateway or the hub; its own code, status and remedy are kept."""

    def __init__(self, status: int, code: str, detail: str, remedy: str) -> None:
        """Keep what the broker said."""
        super().__init__(detail or "the broker refused")
        self.status = status  # type: ignore[misc]  # this one relays another's
        self.code = code  # type: ignore[misc]
        self._remedy = remedy

    def remedy(self) -> str:
        """Repeat the broker's remedy."""
        return self._remedy or self.fix


class TunnelEndedError(RefusalError):
    """The tunnel at this address was open and is so no longer."""

    code = "tunnel-ended"
    status = 410
    exit = 5
    fix = "Your files are kept until the permit ends. Open a new tunnel under the same permit to go on."


class NotEnteredError(RefusalError):
    """Nobody has entered the tunnel from this browser, or access has changed since."""

    code = "not-entered"
    status = 401
    fix = "Enter the tunnel again from its page at the broker; nothing in the workspace is lost."


class BadTicketError(RefusalError):
    """A ticket that is not for this browser and this tunnel, was used before or is older than 30 seconds."""

    code = "bad-ticket"
    fix = "Enter the tunnel again from its page at the broker; a ticket works once, for 30 seconds."


class PathRefusedError(RefusalError):
    """A request's target is not written in the one way that is allowed."""

    code = "path-not-canonical"
    status = 400
    fix = "Use the links of the page; addresses typed with dots, escapes or odd characters are refused."


class RequestRefusedError(RefusalError):
    """A request is written in a way that two readers could understand differently."""

    code = "request-not-canonical"
    status = 400
    fix = "Use a browser, or a program that writes plain HTTP/1.1: one length, no chunks, no folded lines, no body to a GET."


class NotAllowedError(RefusalError):
    """The gateway's allow-list has no such request or message, or it would carry a file out."""

    code = "not-allowed"
    fix = "Results leave a tunnel only as submitted outputs: run `sulku-outbox submit FILE` in the workspace."


class EgressBudgetError(RefusalError):
    """What this permit may show on screens has been used up."""

    code = "egress-budget"
    status = 429
    fix = "Ask a steward for more budget on the tunnel's page at the broker; your files are kept."


class WorkspaceUnavailableError(FaultError):
    """The workspace does not answer, or not in a way that may be passed on."""

    code = "workspace-unavailable"
    status = 502
    fix = "Wait a minute and reload; if it stays so, leave, close the tunnel and open a new one. Your files are kept."


class RecorderFullError(FaultError):
    """Executed code cannot be recorded durably now, so it is not executed."""

    code = "recorder-full"
    fix = "Run the cell again in a minute; nothing was executed. Operators have been told."
