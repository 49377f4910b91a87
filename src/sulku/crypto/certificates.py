"""X.509 for trials: a private authority, and short-lived certificates for our own parts. Production brings its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SKEW: Final = timedelta(minutes=5)  # that another machine's clock may be behind ours
_PEM: Final = serialization.Encoding.PEM
_BOTH: Final = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]  # each part calls and is called


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key, both in PEM; the key is secret."""

    certificate: bytes
    key: bytes


def authority(name: str, at: datetime, life: timedelta) -> Issued:
    """Return a new authority that signs for the parts of one installation and for nobody else."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        _begun(subject, subject, key.public_key(), at, life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _issued(made.sign(key, hashes.SHA256()), key)


def certificate(by: Issued, part: str, at: datetime, life: timedelta) -> Issued:
    """Return a new key and certificate for ``part``, whose name is its only alternative name; ends with the authority at the latest."""
    root = x509.load_pem_x509_certificate(by.certificate)
    signer = serialization.load_pem_private_key(by.key, None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, part)])
    made = (
        _begun(subject, root.subject, key.public_key(), at, min(life, root.not_valid_after_utc - at))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_BOTH), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(part)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    return _issued(made.sign(signer, hashes.SHA256()), key)


def ends(certificate_: bytes) -> datetime:
    """Return when the (first) certificate in ``certificate_`` ends."""
    return x509.load_pem_x509_certificate(certificate_).not_valid_after_utc


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, at: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(at, at + life) - SKEW)
        .not_valid_after(at + life)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _issued(made: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Issued:
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return Issued(made.public_bytes(_PEM), key.private_bytes(_PEM, form, plain))
