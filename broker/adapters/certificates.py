"""The trial's certificates as files: ``authority/`` and a folder for each part with ``tls.crt``, ``tls.key`` and ``ca.crt``.

The names are those of a Kubernetes secret of type ``kubernetes.io/tls``, as cert-manager writes it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from broker.adapters.keys import write
from sulku.crypto import certificates
from sulku.crypto.certificates import Issued
from sulku.crypto.channels import Files, require_fit
from sulku.errors import ConfigurationError
from sulku.links import PARTS

CERTIFICATE, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"
AUTHORITY_LIFE: Final = timedelta(days=365)


def files(folder: Path) -> Files:
    """Return the paths of the three files in a part's ``folder``."""
    return Files(str(folder / CERTIFICATE), str(folder / KEY), str(folder / AUTHORITY))


def init(folder: Path, at: datetime, life: timedelta) -> datetime:
    """Make an authority and a certificate for every part; return when the certificates end.

    Raises:
        ConfigurationError: There is an authority already.
    """
    if (folder / "authority" / KEY).exists():
        raise ConfigurationError(f"{folder} has an authority; `renew` makes new certificates under it")
    _keep(folder / "authority", certificates.authority("sulku trial authority", at, AUTHORITY_LIFE))
    return renew(folder, at, life)


def renew(folder: Path, at: datetime, life: timedelta) -> datetime:
    """Make a new key and certificate for every part under the authority that is there; return when they end.

    Raises:
        ConfigurationError: There is no authority, or its time is over.
    """
    try:
        by = Issued((folder / "authority" / CERTIFICATE).read_bytes(), (folder / "authority" / KEY).read_bytes())
    except FileNotFoundError as error:
        raise ConfigurationError(f"{error.filename} is not there; `init` makes an authority") from None
    if certificates.ends(by.certificate) <= at:
        raise ConfigurationError(f"the authority in {folder} has ended; move the folder away and `init` again")
    return min(_renew(folder / part, by, part, at, life) for part in PARTS)


def _renew(folder: Path, by: Issued, part: str, at: datetime, life: timedelta) -> datetime:
    made = certificates.certificate(by, part, at, life)
    _keep(folder, made)
    write(folder / AUTHORITY, by.certificate)
    require_fit(files(folder), part)
    return certificates.ends(made.certificate)


def _keep(folder: Path, made: Issued) -> None:
    for one in (folder.parent, folder):
        one.mkdir(mode=0o700, parents=True, exist_ok=True)
    write(folder / KEY, made.key)
    write(folder / CERTIFICATE, made.certificate)
