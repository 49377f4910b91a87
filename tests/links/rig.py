"""A site whose parts are linked by TCP with mutual TLS on loopback, and a caller that is none of our code."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from broker.adapters import certificates
from sulku.crypto import certificates as papers
from sulku.crypto import channels
from sulku.crypto.channels import Files
from tests.fakes.broker import FakeBroker
from tests.gateway.rig import GatewayProcess
from tests.hub.rig import Hub
from tests.ports import free_port
from tests.soon import eventually

WEEK = timedelta(days=7)
REFUSED = (OSError, http.client.HTTPException)  # a handshake that fails, or a connection that is closed at once


def now() -> datetime:
    return datetime.now(UTC)


class Papers:
    """An authority, a certificate for each part, and the wrong ones that a test asks for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        certificates.init(folder, now(), WEEK)

    def of(self, part: str) -> Files:
        return certificates.files(self.folder / part)

    @property
    def trust(self) -> str:
        return self.of("broker").authority

    def settings(self, part: str) -> dict[str, str]:
        return dict(zip(("certificate_file", "certificate_key_file", "authority_file"), astuple(self.of(part)), strict=True))

    def renew(self) -> None:
        certificates.renew(self.folder, now(), WEEK)

    def expired(self, part: str) -> Files:
        return self.odd(f"expired-{part}", part, at=now() - 2 * WEEK)

    def odd(self, name: str, part: str, *, at: datetime | None = None, by: Papers | None = None) -> Files:
        """Make a certificate for ``part`` as none should be."""
        folder, signer = self.folder / "odd" / name, (by or self).folder / "authority"
        folder.mkdir(parents=True, exist_ok=True)
        issued = papers.Issued((signer / "tls.crt").read_bytes(), (signer / "tls.key").read_bytes())
        made = papers.certificate(issued, part, at or now(), WEEK)
        files = certificates.files(folder)
        for path, data in ((files.key, made.key), (files.certificate, made.certificate), (files.authority, Path(self.trust).read_bytes())):
            Path(path).unlink(missing_ok=True)
            Path(path).touch(mode=0o600)
            Path(path).write_bytes(data)
        return files


    def named(self, common: str, alternative: str | None) -> Files:
        """Make a certificate that another issuer might: a common name, and another alternative name or none."""
        files = self.odd("named", alternative or "x")
        old = x509.load_pem_x509_certificate(Path(files.certificate).read_bytes())
        signer = serialization.load_pem_private_key((self.folder / "authority" / "tls.key").read_bytes(), None)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])
        made = x509.CertificateBuilder(old.issuer, name, old.public_key(), old.serial_number, old.not_valid_before_utc, old.not_valid_after_utc)
        if alternative:
            made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(alternative)]), critical=False)
        signed = made.sign(signer, hashes.SHA256())  # type: ignore[arg-type]
        Path(files.certificate).write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        return files

    def locked(self, files: Files) -> bytes:
        """Return the key behind a password."""
        key: Any = serialization.load_pem_private_key(Path(files.key).read_bytes(), None)
        locked = serialization.BestAvailableEncryption(b"password")
        return bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))


def caller(trust: str, shown: Files | None, highest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """Return a plain client's context."""
    made = ssl.create_default_context(cafile=trust)
    if shown:
        made.load_cert_chain(shown.certificate, shown.key)
    if highest:
        made.maximum_version = highest
    return made


@dataclass(frozen=True)
class Door:
    """Where a part listens, and what each caller may ask there: path and authorization."""

    part: str
    port: int
    papers: Papers
    asks: dict[str, tuple[str, str]]
    host: str = "127.0.0.1"

    def ask(
        self,
        shown: Files | None,
        path: str,
        authorization: str = "",
        *,
        method: str = "GET",
        body: Any = None,
        highest: ssl.TLSVersion | None = None,
        trust: str = "",
    ) -> tuple[int, Any]:
        """Ask with a certificate; return status and JSON value or text."""
        with socket.create_connection((self.host, self.port), 60) as raw, self.wrap(raw, shown, highest, trust) as tls:
            connection = http.client.HTTPConnection("localhost")
            connection.sock = tls
            connection.request(method, path, None if body is None else json.dumps(body), {"Authorization": authorization})
            answer = connection.getresponse()
            text = answer.read()
            kind = answer.headers.get("Content-Type", "")
            return answer.status, json.loads(text) if text and "json" in kind else text.decode()

    def wrap(self, raw: socket.socket, shown: Files | None, highest: ssl.TLSVersion | None = None, trust: str = "") -> ssl.SSLSocket:
        return caller(trust or self.papers.trust, shown, highest).wrap_socket(raw, server_hostname=self.part)

    def lets_in(self, part: str) -> bool:
        """Whether ``part`` gets an answer with its own certificate and token."""
        return self.ask(self.papers.of(part), *self.asks[part])[0] == 200

    def shows(self) -> bytes:
        """Return the certificate that a caller sees now, DER."""
        with socket.create_connection((self.host, self.port), 60) as raw, self.wrap(raw, self.papers.of(min(self.asks))) as tls:
            return tls.getpeercert(binary_form=True) or b""


class LinkedGateway(GatewayProcess):
    """A gateway whose control is reached by TCP."""

    def __init__(self, folder: Path, broker: FakeBroker, papers: Papers, *, host: str = "127.0.0.1", port: int = 0, **settings: Any) -> None:
        port = port or free_port()
        super().__init__(folder, broker, control_address=f"https://{host}:{port}", **papers.settings("gateway"), **settings)
        token = f"Bearer {self.control_token}"
        asks = {"broker": ("/control/health", token), "worker": ("/control/health", token), "hub": ("/control/routes", token)}
        self.door = Door("gateway", port, papers, asks, host)

    def control(self, method: str, path: str, body: Any = None, token: str | None = None) -> tuple[int, Any]:
        shown = self.door.papers.of("hub" if path.startswith("/control/routes") else "broker")
        return self.door.ask(shown, path, f"Bearer {self.control_token if token is None else token}", method=method, body=body)


class Site(Hub):
    """A real hub, a real gateway and a fake broker, all links by TCP."""

    def __init__(self, folder: Path) -> None:
        self.papers = Papers(folder / "certificates")
        super().__init__(folder)
        ports = [free_port() for _ in range(2)]
        self.broker = FakeBroker(folder, "gateway-token", "hub-token", port=ports[0], channel=channels.listening(self.papers.of("broker"), "broker"))
        broker_address = f"https://127.0.0.1:{ports[0]}"
        self.gateway: LinkedGateway = LinkedGateway(folder, self.broker, self.papers, broker_address=broker_address)
        token = "token broker-at-the-hub"
        self.door = Door("hub", ports[1], self.papers, dict.fromkeys(("broker", "worker"), ("/hub/api/info", token)))
        links = {
            "hub_address": f"https://127.0.0.1:{ports[1]}",
            "broker_address": broker_address,
            "gateway_address": self.gateway.settings["control_address"],
        }
        told = json.loads((folder / "hub.json").read_text())
        (folder / "hub.json").write_text(json.dumps(told | links | self.papers.settings("hub")))

    def ask(self, method: str, path: str, body: Any = None, token: str = "broker-at-the-hub") -> tuple[int, Any]:
        return self.door.ask(self.papers.of("broker"), f"/hub/api{path}", f"token {token}", method=method, body=body)


@contextlib.contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Run a whole site."""
    made = Site(folder)
    made.broker.start()
    with made.gateway.run(), made.run():
        yield made
    made.broker.stop()


__all__ = ["REFUSED", "WEEK", "Door", "LinkedGateway", "Papers", "Site", "eventually", "now", "site"]
