"""Every way sulku says no, as one tree with stable codes.

SulkuError
  RefusalError     an expected no: whoever asked can act on it (4xx; exit 2 to 5, 8, 9; never an alert)
  FaultError       an unexpected no: an operator must act (5xx; exit 6 to 7; an alert)

A code is part of the contract: pages, the API, the CLI and the ledger all show it, and it never changes its meaning.
"""

from sulku.errors.asked import InvalidInputError, UnsafeFileError, UnsafeNameError
from sulku.errors.base import FaultError, RefusalError, SulkuError
from sulku.errors.gateway import (
    BadTicketError,
    BrokerUnavailableError,
    EgressBudgetError,
    NotAllowedError,
    NotEnteredError,
    PathRefusedError,
    RecorderFullError,
    RelayedRefusalError,
    RequestRefusedError,
    TunnelEndedError,
    WorkspaceUnavailableError,
)
from sulku.errors.ledger import (
    BundleError,
    CommitmentError,
    KeyFormatError,
    LedgerBrokenError,
    NotCanonicalError,
    ProofError,
    SignatureError,
    StatusListStaleError,
    StatusUnknownError,
    UnknownKeyError,
)
from sulku.errors.links import CertificateUnfitError, GateBusyError, NotAPodError, WrongNeighbourError
from sulku.errors.moves import IllegalMoveError, PermitNotLiveError, RepeatedKeyError, RuleError, StaleError
from sulku.errors.outputs import (
    InspectionUnavailableError,
    NothingRebuiltError,
    UnreadableImageError,
    UnreadableTableError,
    UnreadableTextError,
)
from sulku.errors.people import BoundElsewhereError, DeniedError, NotFoundError, SignInRequiredError
from sulku.errors.sandbox import (
    ClusterUnavailableError,
    HomeInUseError,
    IsolationUnavailableError,
    NotProvedClosedError,
    SandboxError,
    WorkspaceNotReadyError,
)
from sulku.errors.system import (
    ConfigurationError,
    GateUnavailableError,
    HubUnavailableError,
    IntegrityError,
    PolicyEngineMissingError,
    PolicyUnavailableError,
    StoreUnavailableError,
)
from sulku.errors.web import (
    AnsweredNoError,
    BadTokenError,
    ConfirmationNeededError,
    CrossSiteError,
    IssuerUnavailableError,
    ServerUnreachableError,
    SignInFailedError,
    TooLargeError,
    TooManyAttemptsError,
    UnexpectedError,
    WrongMethodError,
)

__all__ = [
    "AnsweredNoError",
    "BadTicketError",
    "BadTokenError",
    "BoundElsewhereError",
    "BrokerUnavailableError",
    "BundleError",
    "CertificateUnfitError",
    "ClusterUnavailableError",
    "CommitmentError",
    "ConfigurationError",
    "ConfirmationNeededError",
    "CrossSiteError",
    "DeniedError",
    "EgressBudgetError",
    "FaultError",
    "GateBusyError",
    "GateUnavailableError",
    "HomeInUseError",
    "HubUnavailableError",
    "IllegalMoveError",
    "InspectionUnavailableError",
    "IntegrityError",
    "InvalidInputError",
    "IsolationUnavailableError",
    "IssuerUnavailableError",
    "KeyFormatError",
    "LedgerBrokenError",
    "NotAPodError",
    "NotAllowedError",
    "NotCanonicalError",
    "NotEnteredError",
    "NotFoundError",
    "NotProvedClosedError",
    "NothingRebuiltError",
    "PathRefusedError",
    "PermitNotLiveError",
    "PolicyEngineMissingError",
    "PolicyUnavailableError",
    "ProofError",
    "RecorderFullError",
    "RefusalError",
    "RelayedRefusalError",
    "RepeatedKeyError",
    "RequestRefusedError",
    "RuleError",
    "SandboxError",
    "ServerUnreachableError",
    "SignInFailedError",
    "SignInRequiredError",
    "SignatureError",
    "StaleError",
    "StatusListStaleError",
    "StatusUnknownError",
    "StoreUnavailableError",
    "SulkuError",
    "TooLargeError",
    "TooManyAttemptsError",
    "TunnelEndedError",
    "UnexpectedError",
    "UnknownKeyError",
    "UnreadableImageError",
    "UnreadableTableError",
    "UnreadableTextError",
    "UnsafeFileError",
    "UnsafeNameError",
    "WorkspaceNotReadyError",
    "WorkspaceUnavailableError",
    "WrongMethodError",
    "WrongNeighbourError",
]
