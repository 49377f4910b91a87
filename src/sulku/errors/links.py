"""Between our own parts: a certificate that does not serve, and a part that asks for what is another's."""

from __future__ import annotations

from sulku.errors.base import FaultError, RefusalError
from sulku.errors.system import ConfigurationError


class CertificateUnfitError(ConfigurationError):
    """A part's certificate, key or authority is missing, expired, readable by others, or not that part's."""

    code = "certificate-unfit"
    fix = "Have the issuer renew the named file; `sulku-broker certificates init` and `renew` do so for a trial."


class NotAPodError(RefusalError):
    """The gateway was asked to connect to what is not a pod in the networks that it is told of."""

    code = "not-a-pod"
    fix = "Set the gateway's workspace_networks to the pods' network, and to nothing wider; on one machine there is none."


class GateBusyError(FaultError):
    """The gateway speaks to as many pods at once as it may."""

    code = "gate-busy"
    fix = "Ask another gateway, or again in a second; if it stays so, run more gateways."


class WrongNeighbourError(RefusalError):
    """One of our own parts asked for what is another part's to ask."""

    code = "wrong-neighbour"
    fix = "Give each part its own certificate, and look for who uses this one where it does not belong."
