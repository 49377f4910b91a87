"""Between our own parts: a certificate that does not serve, and a part that asks for what is another's."""

from __future__ import annotations

from sulku.errors.base import RefusalError
from sulku.errors.system import ConfigurationError


class CertificateUnfitError(ConfigurationError):
    """A part's certificate, key or authority is missing, expired, readable by others, or not that part's."""

    code = "certificate-unfit"
    fix = "Have the issuer renew the named file; `sulku-broker certificates init` and `renew` do so for a trial."


class WrongNeighbourError(RefusalError):
    """One of our own parts asked for what is another part's to ask."""

    code = "wrong-neighbour"
    fix = "Give each part its own certificate, and look for who uses this one where it does not belong."
