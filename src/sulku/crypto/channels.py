"""Mutual TLS between our own parts: contexts that read their files anew when they change, and refuse whoever is not meant.

Python's ``ssl`` reads certificates from paths alone, so this file, in the one folder of the core that is not pure, looks
at files. It opens no connection: servers and clients of every kind are given one of its contexts.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Collection, Mapping
from dataclasses import astuple, dataclass
from typing import Any, Final, Self

from sulku import links
from sulku.errors import CertificateUnfitError, ConfigurationError

log = logging.getLogger("sulku.links")
ROUNDS: Final = 3  # of a handshake with oneself: hello and proof, proof back, and one to spare


@dataclass(frozen=True, slots=True)
class Files:
    """Paths of one part's certificate (with its chain), key and authority, each in PEM."""

    certificate: str
    key: str
    authority: str


def listening(files: Files, part: str) -> ssl.SSLContext:
    """Return the context for what ``part`` listens on: TLS 1.3, and a certificate of a part that may call it.

    Raises:
        CertificateUnfitError: A file is missing, readable by others, expired, or not of ``part`` and its authority.
    """
    return _Renewing(files, part, links.callers(part), server=True)


def calling(files: Files, part: str, to: str) -> ssl.SSLContext:
    """Return the context with which ``part`` calls ``to``; whatever its address, it must prove that name.

    Raises:
        CertificateUnfitError: As for ``listening``.
    """
    return _Renewing(files, part, frozenset({to}), server=False)


def names(found: Mapping[str, Any] | None) -> frozenset[str]:
    """Return the DNS names of a peer's certificate, as ``getpeercert`` gives it; the common name counts for nothing."""
    return frozenset(value for kind, value in (found or {}).get("subjectAltName", ()) if kind == "DNS")


def require_private(path: str) -> None:
    """Require that nobody else can read a secret file.

    A group may read what another user owns: so Kubernetes mounts a secret for a process that is not root.

    Raises:
        ConfigurationError: Others can.
        OSError: There is no such file.
    """
    found = os.stat(path)  # noqa: PTH116  # paths are text here
    closed = 0o077 if found.st_uid == os.geteuid() else 0o037
    if found.st_mode & closed:
        raise ConfigurationError(f"{path} can be read by others; chmod 600 it")


class _Meant(ssl.SSLContext):
    """A context that knows whom it may meet."""

    peers: Collection[str] = ()


def _require_meant(found: Mapping[str, Any] | None, context: ssl.SSLContext) -> None:
    peers = context.peers if isinstance(context, _Meant) else ()
    if names(found).isdisjoint(peers):
        said = f"the certificate of {', '.join(sorted(names(found))) or 'nobody'} came where {' or '.join(sorted(peers))} is meant"
        log.warning("refused: %s", said)
        raise ssl.SSLCertVerificationError(ssl.SSL_ERROR_SSL, said)


class _Object(ssl.SSLObject):
    """For asyncio; the handshake is not over before the peer is one who is meant."""

    def do_handshake(self) -> None:
        super().do_handshake()
        _require_meant(self.getpeercert(), self.context)


class _Socket(ssl.SSLSocket):
    """For tornado and synchronous clients; the same."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT002  # as the base has it
        super().do_handshake(block)
        _require_meant(self.getpeercert(), self.context)


_Meant.sslobject_class, _Meant.sslsocket_class = _Object, _Socket


class _Renewing(ssl.SSLContext):
    """Hands each new connection to a context of the files as they are now; connections that live go on as they are.

    What would be refused at the start is refused later too: then the files before stay in force, and the log says so.
    """

    def __new__(cls, files: Files, part: str, peers: frozenset[str], *, server: bool) -> Self:  # noqa: ARG004
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, files: Files, part: str, peers: frozenset[str], *, server: bool) -> None:
        self.minimum_version = ssl.TLSVersion.TLSv1_3
        self.verify_mode = ssl.CERT_REQUIRED
        self._files, self._part, self._peers, self._server = files, part, peers, server
        self._marks, self._now = _marks(files), self._made()

    def _made(self) -> ssl.SSLContext:
        require_fit(self._files, self._part)
        return _context(self._files, self._peers, server=self._server)

    def _current(self) -> ssl.SSLContext:
        try:
            marks = _marks(self._files)
            if marks != self._marks:
                self._now, self._marks = self._made(), marks
                log.info("new certificate files are in force: %s", self._files.certificate)
        except CertificateUnfitError as error:  # half written, perhaps; the next connection looks again
            log.warning("new certificate files are not taken: %s", error)
        return self._now

    def _to(self, options: dict[str, Any]) -> dict[str, Any]:
        return options if self._server else {**options, "server_hostname": min(self._peers)}

    def wrap_bio(self, *ends: Any, **options: Any) -> ssl.SSLObject:
        return self._current().wrap_bio(*ends, **self._to(options))

    def wrap_socket(self, *ends: Any, **options: Any) -> ssl.SSLSocket:
        return self._current().wrap_socket(*ends, **self._to(options))


def _context(files: Files, peers: Collection[str], *, server: bool) -> _Meant:
    made = _Meant(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.peers = peers
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.verify_mode = ssl.CERT_REQUIRED
    if server:
        made.num_tickets = 0  # no resumption: each connection shows its certificate
    else:
        made.hostname_checks_common_name = False
    made.load_cert_chain(files.certificate, files.key, password="")  # an encrypted key fails, and asks no terminal
    made.load_verify_locations(cafile=files.authority)  # this one and no other; the system's are never loaded
    return made


def require_fit(files: Files, part: str) -> None:
    """Require that ``part`` would be believed with these files, by having it call itself in memory.

    That checks all at once, and by the code that others will check it with: key, dates, authority, name, both purposes.

    Raises:
        CertificateUnfitError: It would not; the reason names the file.
    """
    try:
        _marks(files)
        require_private(files.key)
        near, far = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = (
            _context(files, {part}, server=False).wrap_bio(near, far, server_hostname=part),
            _context(files, {part}, server=True).wrap_bio(far, near, server_side=True),
        )
        for _ in range(ROUNDS):
            for end in ends:
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLError as error:
        why = getattr(error, "verify_message", "") or (error.reason or "").lower().replace("_", " ") or "cannot be read as PEM"
        raise CertificateUnfitError(f"{files.certificate} does not serve as the certificate of {part}: {why}") from None
    except ConfigurationError as error:
        raise CertificateUnfitError(str(error)) from None
    except OSError as error:
        raise CertificateUnfitError(f"{error.filename}: {error.strerror}") from None


def _marks(files: Files) -> tuple[tuple[int, int, int], ...]:
    """Return what changes when a file does, whether it is written over, replaced, or a link is turned."""
    try:
        found = [os.stat(path) for path in astuple(files)]  # noqa: PTH116
    except OSError as error:
        raise CertificateUnfitError(f"{error.filename}: {error.strerror}") from None
    return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in found)
