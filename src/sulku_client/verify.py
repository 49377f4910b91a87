"""Check a ledger's bundle, a permit or a release offline: no server, no network, only the base dependencies.

``python -m sulku_client.verify BUNDLE [--key NAME+HASH+BASE64]`` is the same check as ``sulku ledger verify``.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from sulku import permits, standing
from sulku.codec import unstamp
from sulku.crypto import sign
from sulku.crypto.keys import Keyring, Lived, PublicKey
from sulku.errors import InvalidInputError, KeyFormatError, NotFoundError, SignatureError, SulkuError, UnknownKeyError
from sulku.ledger import canonical, keyrings
from sulku.ledger.verify import Progress, Report, verify

_HEX: Final = re.compile(rb"\b[0-9a-f]{64}\b")
_ALWAYS: Final = datetime.min.replace(tzinfo=UTC)
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Paper:
    """A signed document that holds.

    Attributes:
        document: What it says.
        signers: Hints (``name+hash``) of the trusted keys that signed it.
        files: Pairs of a file's name and its digest, for those compared with it.
    """

    document: dict[str, Any]
    signers: tuple[str, ...]
    files: tuple[tuple[str, str], ...] = ()


def read_keys(vkeys: Iterable[str]) -> tuple[PublicKey, ...]:
    """Return the keys of ``--key`` options.

    Raises:
        KeyFormatError: One is not ``name+hash+base64``.
    """
    return tuple(PublicKey.parse(vkey) for vkey in vkeys)


def read_ring(keys: Iterable[PublicKey], rings: bytes | None = None) -> Keyring:
    """Return whom to believe: ``keys``, and if the installation's ``keys.json`` is given, the keys they vouch for.

    Raises:
        KeyFormatError: There is no key, or ``rings`` is no such file.
        SignatureError: A ring was edited.
        UnknownKeyError: No given key vouches for the rings.
    """
    given = tuple(keys)
    if not given:
        raise KeyFormatError("a paper can only be checked with a key; name one with --key")
    if rings is None:
        return Keyring(tuple(Lived(key, _ALWAYS) for key in given))
    try:
        envelopes = [canonical.canonical(ring) for ring in canonical.decode(rings)["rings"]]
    except (KeyError, TypeError):
        raise KeyFormatError("not a file of key rings") from None
    return keyrings.follow(envelopes, given)[0]


def verify_ledger(
    bundle: Path,
    keys: Iterable[PublicKey] = (),
    *,
    known: Iterable[bytes] = (),
    records: bool = True,
    progress: Progress | None = None,
) -> Report:
    """Check a bundle; see ``sulku.ledger.verify.verify`` for all but the first argument and for what it raises.

    Raises:
        NotFoundError: There is no such file.
    """
    try:
        with bundle.open("rb") as stream:
            return verify(stream, keys, known=known, records=records, progress=progress)
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise NotFoundError(f"there is no file {str(bundle)!r} that can be read") from None


def verify_permit(envelope: bytes, ring: Keyring, *, signed_at: str = "issued") -> Paper:
    """Check a permit that stands alone. Says who signed it; whether it holds now, ``stand`` says.

    Args:
        envelope: The file's bytes.
        ring: Whom to believe.
        signed_at: The document's field that says when it was signed; without it a retired key is not believed.

    Raises:
        SignatureError: Edited, not a permit, or signed by a key that was not in use then.
        UnknownKeyError: Nobody trusted signed it.
    """
    return _open(envelope, ring, sign.PERMIT, signed_at)


def verify_status(envelope: bytes, ring: Keyring, permit: Paper) -> standing.StatusList:
    """Check a status list, and that it comes from where ``permit`` does.

    Raises:
        SignatureError: Edited, not a status list, or signed by a key that was not in use then.
        UnknownKeyError: Nobody trusted signed it, or nobody of the name that the permit is signed under.
    """
    found = _open(envelope, ring, sign.STATUS, "issued")
    if not _names(found) & _names(permit):
        raise UnknownKeyError(f"the status list is by {', '.join(found.signers)}; the permit is by {', '.join(permit.signers)}")
    try:
        return standing.read(found.document)
    except InvalidInputError as error:
        raise SignatureError(f"signed, but {error}") from None


def stand(permit: Paper, statuses: standing.StatusList | None, at: datetime) -> standing.Verdict:
    """Return where a permit stands at ``at``; of a schema that this version does not know, nothing can be told."""
    try:
        return standing.judge(permits.read(permit.document), statuses, at)
    except InvalidInputError as error:
        return standing.Verdict(standing.Standing.UNKNOWN, f"the signature holds, and {error}")


def _names(paper: Paper) -> set[str]:
    return {hint.partition("+")[0] for hint in paper.signers}


def verify_release(
    envelope: bytes, ring: Keyring, files: Sequence[Path] = (), *, signed_at: str = "delivered"
) -> Paper:
    """Check a release's manifest, and that it holds the SHA-256 of each of ``files``.

    Raises:
        SignatureError: Edited, not a release, signed by a key not in use then, or a file is not what was released.
        UnknownKeyError: Nobody trusted signed it.
        NotFoundError: A file cannot be read.
    """
    paper = _open(envelope, ring, sign.RELEASE, signed_at)
    released = set(_HEX.findall(sign.read(envelope).payload))
    compared = []
    for path in files:
        digest = _digest(path)
        if digest.encode() not in released:
            raise SignatureError(f"{path.name} is not among the files of this release: {digest}")
        compared.append((path.name, f"sha256:{digest}"))
    return Paper(paper.document, paper.signers, tuple(compared))


def _open(envelope: bytes, ring: Keyring, kind: str, signed_at: str) -> Paper:
    opened = sign.open_envelope(envelope, ring, kind)
    try:
        document = orjson.loads(opened.payload)
        at = unstamp(document[signed_at]) if signed_at in document else None
    except (orjson.JSONDecodeError, TypeError, InvalidInputError):
        raise SignatureError("signed, but its time cannot be read") from None
    if not isinstance(document, dict):
        raise SignatureError("signed, but not a document")
    sign.verify(envelope, ring, kind, at)
    return Paper(document, tuple(lived.key.hint for lived in opened.signers))


def _digest(path: Path) -> str:
    seen = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                seen.update(chunk)
    except OSError:
        raise NotFoundError(f"there is no file {str(path)!r} that can be read") from None
    return seen.hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the bundle that the command line names; print each check; return the exit status (7: broken)."""
    parser = argparse.ArgumentParser(prog="sulku ledger verify", description="Check a ledger's bundle offline.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--key", action="append", default=[], help="name+hash+base64 of a key that you trust")
    options = parser.parse_args(arguments)
    try:
        report = verify_ledger(options.bundle, read_keys(options.key))
    except SulkuError as error:
        sys.stderr.write(f"{error.code}: {error}\n{error.remedy()}\n")
        return error.exit
    for check in report.checks:
        sys.stdout.write(f"{check.name:12} {check.done:>9,} of {check.total:>9,}  {check.detail}\n")
    if not report.anchored:
        for lived in report.keys:
            sys.stdout.write(f"not vouched for: {lived.key.vkey}\n    {lived.key.fingerprint}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
