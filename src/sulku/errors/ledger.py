"""The ledger, its papers and the keys that sign them."""

from __future__ import annotations

from sulku.errors.asked import InvalidInputError
from sulku.errors.base import FaultError, RefusalError
from sulku.errors.system import IntegrityError


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


class StatusUnknownError(RefusalError):
    """A permit's signature and dates hold, and nothing at hand says whether it was suspended, revoked or superseded since."""

    code = "permit-status-unknown"
    status = 409
    exit = 8
    fix = "Fetch the list with `sulku permits status --to FILE`, and check again with --status FILE."


class StatusListStaleError(RefusalError):
    """A status list is past its day, so that it says nothing of a permit that was not over by then."""

    code = "status-list-stale"
    status = 409
    exit = 9
    fix = "Fetch a new list with `sulku permits status --to FILE`, and check again with --status FILE."


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
