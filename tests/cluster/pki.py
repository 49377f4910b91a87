"""The test cluster's certificates: one authority, one client certificate and one kubeconfig for each component."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAYS: Final = 3650  # the folder outlives the cluster
_USES: Final = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
SERVICE: Final = "10.96.0.1"  # the API server's address inside
_CONFIG: Final = """\
apiVersion: v1
kind: Config
clusters: [{{name: t, cluster: {{server: "https://{address}:6443", certificate-authority: {folder}/ca.crt}}}}]
users: [{{name: u, user: {{client-certificate: {folder}/{name}.crt, client-key: {folder}/{name}.key}}}}]
contexts: [{{name: c, context: {{cluster: t, user: u}}}}]
current-context: c
"""


def _people(address: str) -> dict[str, tuple[str, str, list[str]]]:
    """Return name → (organisation, common name, alternative names) of each certificate."""
    names = ["localhost", "kubernetes", "kubernetes.default.svc", "127.0.0.1", address, SERVICE]
    return {
        "apiserver": ("", "kube-apiserver", names),
        "admin": ("system:masters", "admin", []),
        "kcm": ("", "system:kube-controller-manager", []),
        "sched": ("", "system:kube-scheduler", []),
        "node": ("system:nodes", "system:node:n1", ["n1", address]),
        "proxy": ("", "system:kube-proxy", []),
    }


def issue(folder: Path, address: str) -> None:
    """Write all of them into ``folder`` (private keys 0600), once."""
    if (folder / "sa.pub").exists():
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = ec.generate_private_key(ec.SECP256R1())
    root = _certificate(("", "test-authority", []), authority, None, authority)
    (folder / "ca.crt").write_bytes(root.public_bytes(serialization.Encoding.PEM))
    for name, about in _people(address).items():
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(about, key, root, authority)
        _secret(folder / f"{name}.key", _pem(key))
        (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.conf").write_text(_CONFIG.format(address=address, folder=folder, name=name))
    tokens = rsa.generate_private_key(65537, 2048)
    _secret(folder / "sa.key", _pem(tokens))
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    (folder / "sa.pub").write_bytes(tokens.public_key().public_bytes(encoding, form))


def _certificate(
    about: tuple[str, str, list[str]], key: ec.EllipticCurvePrivateKey, root: x509.Certificate | None, signer: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    organisation, common, names = about
    words = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation)] if organisation else []
    subject = x509.Name([*words, x509.NameAttribute(NameOID.COMMON_NAME, common)])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(root.subject if root else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=_DAYS))
        .add_extension(x509.BasicConstraints(ca=root is None, path_length=None), critical=True)
    )
    if root:
        alternatives = [_general(name) for name in names or [common.replace(":", "-")]]
        built = built.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        built = built.add_extension(x509.ExtendedKeyUsage(_USES), critical=False)
    return built.sign(signer, hashes.SHA256())


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain)


def _secret(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
