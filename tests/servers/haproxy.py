"""Debian's HAProxy in front of an installation, by the very file that the operator's guide shows: TLS and HTTP/2 end there."""

from __future__ import annotations

import base64
import hashlib
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sulku.crypto import certificates
from tests.soon import soon

SAMPLE: Final = Path(__file__).parents[2] / "docs" / "how-to" / "operator" / "front.cfg"
PAGES, PREVIEWS, TUNNELS = "broker.localhost", "preview.localhost", "sulku.localhost"
DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class Front:
    """Somebody who has the three certificates, and may stand in front.

    Attributes:
        port: Where it will listen.
        folder: Of the certificates, as HAProxy takes them.
        trust: For callers who believe the authority.
        pins: Base64 of the SHA-256 of each public key, as Chromium takes them; it believes no authority of a test's.
    """

    port: int
    folder: Path
    trust: ssl.SSLContext
    pins: tuple[str, ...]

    @property
    def settings(self) -> dict[str, str]:
        """What the installation behind must be told: the addresses at which people come."""
        return {
            "url": f"https://{PAGES}:{self.port}", "preview_url": f"https://{PREVIEWS}:{self.port}", "gate_domain": f"{TUNNELS}:{self.port}",
        }  # fmt: skip

    @contextmanager
    def running(self, broker: int, gateway: int) -> Iterator[None]:
        """Serve, with the broker's pages and the gateway on these ports of loopback."""
        text = SAMPLE.read_text()
        for sample, ours in (
            ("bind :443", f"bind 127.0.0.1:{self.port}"), ("/etc/sulku/front/", f"{self.folder}/"),
            ("broker.example.org", PAGES), ("preview.example.org", PREVIEWS), ("sulku-tunnels.example.net", TUNNELS),
            ("127.0.0.1:8080", f"127.0.0.1:{broker}"), ("127.0.0.1:8081", f"127.0.0.1:{gateway}"),
        ):  # fmt: skip
            assert sample in text, f"{SAMPLE.name} no longer says {sample}"
            text = text.replace(sample, ours)
        config = self.folder.with_name("front.cfg")
        config.write_text(text)
        server = subprocess.Popen(["/usr/sbin/haproxy", "-db", "-f", str(config)], stdout=subprocess.DEVNULL)
        try:
            assert soon(lambda: server.poll() is not None or self._listens()), "haproxy does not listen"
            assert server.poll() is None, "haproxy refuses the file"
            yield
        finally:
            server.terminate()
            server.wait(60)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def prepared(port: int) -> Iterator[Front]:
    """Draw an authority and a certificate for each name; they are gone afterwards."""
    now, place = datetime.now(UTC), Path(tempfile.mkdtemp(prefix="sulku-front-"))
    root = certificates.authority("a test's authority", now, DAY)
    pins = []
    folder = place / "certificates"
    folder.mkdir(mode=0o700)
    for name in (PAGES, PREVIEWS, f"*.{TUNNELS}"):
        made = certificates.certificate(root, name, now, DAY)
        (folder / f"{name.removeprefix('*.')}.pem").write_bytes(made.certificate + made.key)
        public = x509.load_pem_x509_certificate(made.certificate).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        pins.append(base64.b64encode(hashlib.sha256(public).digest()).decode())
    trust = ssl.create_default_context(cadata=root.certificate.decode())
    try:
        yield Front(port, folder, trust, tuple(pins))
    finally:
        shutil.rmtree(place)
