"""Every way sulku says no, as one tree with stable codes.

SulkuError
  RefusalError     an expected no: whoever asked can act on it (4xx; exit 2 to 5; never an alert)
  FaultError       an unexpected no: an operator must act (5xx; exit 6 to 7; an alert)

A code is part of the contract: pages, the API, the CLI and the ledger all show it, and it never changes its meaning.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from sulku.disclosure.findings import Finding


class SulkuError(Exception):
    """Root of the tree; never raised itself.

    Attributes:
        code: Stable, kebab-case, unique in the tree.
        status: The HTTP status that the API and the pages answer with.
        exit: The exit status of the command line: 2 usage, 3 refused, 4 not found, 5 conflict, 6 unavailable, 7 integrity.
        fix: What the reader can do next, one sentence; ``remedy()`` may say it more exactly.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    exit: ClassVar[int] = 6
    fix: ClassVar[str] = "Tell the service desk, with the reference of this message."

    def remedy(self) -> str:
        """Say, in one sentence, what the reader can do next."""
        return self.fix


class RefusalError(SulkuError):
    """An expected no."""

    code = "refused"
    status = 403
    exit = 3


class FaultError(SulkuError):
    """An unexpected no."""

    code = "fault"
    status = 503
    exit = 6


# --- what was asked is malformed -------------------------------------------------------------------------------------


class InvalidInputError(RefusalError):
    """Something asked for is missing, too large or of the wrong kind."""

    code = "invalid-input"
    status = 422
    exit = 2
    fix = "Correct the named fields and send it again; nothing was saved or lost."

    def __init__(self, message: str, *, fields: Sequence[tuple[str, str]] = ()) -> None:
        """Keep ``fields``: pairs of (field path, what is wrong with it)."""
        super().__init__(message)
        self.fields = tuple(fields)


class UnsafeNameError(InvalidInputError):
    """A name holds control characters, direction marks, separators or nothing at all."""

    code = "unsafe-name"
    fix = "Use letters, digits, spaces, dots, hyphens and underscores; no control or direction marks."


class UnsafeFileError(InvalidInputError):
    """A file is a link, a device, climbs out of its folder or is not what its name says."""

    code = "unsafe-file"
    fix = "Send an ordinary file that lies inside the folder and is of an allowed kind."


# --- outputs and their inspection ------------------------------------------------------------------------------------


class UnreadableTableError(InvalidInputError):
    """A file is not a plain, strict table; ``findings`` names each problem and its place."""

    code = "unreadable-table"
    fix = "Write one header row and one plain cell under each heading, in UTF-8, then submit again."

    def __init__(self, message: str, *, findings: Sequence[Finding]) -> None:
        """Keep the findings, each of severity block."""
        super().__init__(message)
        self.findings = tuple(findings)


class UnreadableTextError(UnreadableTableError):
    """A file is not plain text; ``findings`` names the problem and its place."""

    code = "unreadable-text"
    fix = "Save it as plain UTF-8 text without control or invisible characters, then submit again."


class UnreadableImageError(InvalidInputError):
    """A file is not a plain still image, or is too large to decode."""

    code = "unreadable-image"
    fix = "Save the figure again as an ordinary PNG or JPEG, at most 20 megapixels."


class NothingRebuiltError(RefusalError):
    """An output was refused by its inspection, so there is nothing that could leave."""

    code = "nothing-rebuilt"
    status = 409
    exit = 5
    fix = "Read the findings, correct the file inside the tunnel, and submit it again."


class InspectionUnavailableError(FaultError):
    """The isolated reader of outputs cannot be started; outputs are never read unisolated."""

    code = "inspection-unavailable"
    fix = "Nothing was released or lost; the output waits. Operators: `sulku-broker doctor` says what isolation lacks."


# --- who asks ---------------------------------------------------------------------------------------------------------


class SignInRequiredError(RefusalError):
    """Nobody is signed in, or the sign-in has ended."""

    code = "sign-in-required"
    status = 401
    fix = "Sign in and try again; nothing you wrote is lost."


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


# --- the thing has moved on -------------------------------------------------------------------------------------------


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


# --- a system that cannot answer --------------------------------------------------------------------------------------


class PolicyUnavailableError(FaultError):
    """The policy engine is down, slow or answers nonsense; no answer is a no."""

    code = "policy-unavailable"
    refusal: Any = None  # a sulku.clearance.Refusal, set by whoever asked policy
    fix = "Nothing was changed. Try again in a minute; operators have been told."


class StoreUnavailableError(FaultError):
    """The database is away or its disk is full; the change did not happen."""

    code = "store-unavailable"
    fix = "Nothing was changed. Try again in a minute; operators have been told."


class HubUnavailableError(FaultError):
    """JupyterHub is away or could not start a workspace."""

    code = "hub-unavailable"
    fix = "Open the tunnel again in a minute; operators have been told."


class GateUnavailableError(FaultError):
    """The gateway is away; its own clock and the record still close what is open."""

    code = "gate-unavailable"
    fix = "Enter again in a minute; operators have been told."


class ConfigurationError(FaultError):
    """A setting is missing, wrong or unsafe for this mode."""

    code = "configuration"
    fix = "Correct the named setting; `sulku-broker doctor` shows where each value comes from."


class IntegrityError(FaultError):
    """Something that must never change has changed."""

    code = "integrity"
    status = 500
    exit = 7
    fix = "Stop, keep everything as it is, and tell the auditor: this is evidence."


# --- ledger and crypto ------------------------------------------------------------------------------------------------


class NotCanonicalError(FaultError):
    """A document has no single byte form: a float, a key outside ASCII, an integer of 2^53 or more, another version."""

    code = "not-canonical"
    status = 500
    exit = 7
    fix = "Write numbers as integers or text and keys in ASCII; if the bytes came from elsewhere, fetch them again."


class KeyFormatError(InvalidInputError):
    """A key is not one that sulku reads: Ed25519, as PEM or as a C2SP verifier key."""

    code = "key-format"
    fix = "Give an Ed25519 key as PEM, or as name+hash+base64, exactly as it was printed."


class SignatureError(IntegrityError):
    """A signature does not fit the bytes that it came with, or the key had no right to make it then."""

    code = "signature"
    fix = "Do not rely on this document; fetch it again from its source, and tell the auditor if it still fails."


class UnknownKeyError(SignatureError):
    """No key that the reader trusts has signed this."""

    code = "unknown-key"
    fix = "Compare the fingerprint with the one you were given on paper, and name the key with --key."


class ProofError(IntegrityError):
    """An inclusion or consistency proof does not lead to the root that it should."""

    code = "proof"


class CommitmentError(IntegrityError):
    """A salt and a text do not open the commitment in the record."""

    code = "commitment"


class BundleError(IntegrityError):
    """A bundle is not the one archive that its contents can have: cut, padded, reordered or made to harm."""

    code = "bundle"
    fix = "Fetch the bundle again; if it is still refused, keep it and tell the auditor."


class LedgerBrokenError(IntegrityError):
    """The ledger is not what was signed.

    Attributes:
        index: First bad record, counted from 0; None where the fault is in no record (a forged checkpoint).
        last: Last record that the same fault may touch; equal to ``index`` when one record is to blame.
        record: The id that the bad record carries, where it can still be read; else an empty string.
    """

    code = "ledger-broken"

    def __init__(self, problem: str, *, index: int | None = None, last: int | None = None, record: str = "") -> None:
        """Keep the place; the message leads with it."""
        self.index = index
        self.last = index if last is None else last
        self.record = record
        where = ""
        if index is not None:
            where = f"record {index}" if self.last == index else f"records {index} to {self.last}"
            where += f" ({record}): " if record else ": "
        super().__init__(where + problem)


# --- sign-in, the web and the command line ----------------------------------------------------------------------------


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


# --- the gateway ------------------------------------------------------------------------------------------------------


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


# --- policy -----------------------------------------------------------------------------------------------------------


class PolicyEngineMissingError(FaultError):
    """The embedded policy engine is not installed here, so nothing can be decided or replayed."""

    code = "policy-engine-missing"
    fix = "Install `gordon-to-regorus` in the pinned version, for example with `pip install 'sulku[server]'`."


# --- the sandbox ------------------------------------------------------------------------------------------------------


class IsolationUnavailableError(FaultError):
    """This machine cannot isolate a workspace, so none is started; ``missing`` names the checks that failed."""

    code = "isolation-unavailable"
    fix = "Run `sulku-broker doctor`: it names each missing part and how to get it. Nothing runs unisolated."

    def __init__(self, missing: Collection[str], detail: str = "") -> None:
        """Keep the names of the failed checks, sorted."""
        self.missing = tuple(sorted(missing))
        super().__init__(f"cannot isolate a workspace: {', '.join(self.missing)}{f' ({detail})' if detail else ''}")


class NotProvedClosedError(RefusalError):
    """Data was asked for in a workspace whose closure is not proved; there is no way around it."""

    code = "not-proved-closed"
    status = 409
    exit = 5
    fix = "Close this tunnel and open a new one; if it happens again, an operator must look at the closure report."


class HomeInUseError(RefusalError):
    """Another tunnel has this home; two at once would corrupt it."""

    code = "home-in-use"
    status = 409
    exit = 5
    fix = "Enter the tunnel that is open under this permit, or close it first."


class WorkspaceNotReadyError(FaultError):
    """The workspace runs but does not answer in time."""

    code = "workspace-not-ready"
    fix = "Try again in a minute; if it stays so, close the tunnel and open a new one. Your work is kept."


class SandboxError(FaultError):
    """The sandbox could not do what was asked; it was ended rather than left half done."""

    code = "sandbox"
    fix = "Open a new tunnel; operators find the cause in the end record."
