"""Keys keep their names, their text forms are those of C2SP, and each may sign only while it lives."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from hypothesis import given
from hypothesis import strategies as st

from sulku.crypto.keys import RING_LIMIT, Keyring, Lived, PublicKey, SigningKey
from sulku.errors import KeyFormatError, SignatureError, UnknownKeyError

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
C2SP = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"  # the example of C2SP signed-note


def test_the_verifier_key_of_the_specification_is_read_and_written() -> None:
    key = PublicKey.parse(C2SP)
    assert (key.name, key.id.hex(), key.vkey, key.hint) == (
        "example.com/foo",
        "530d903a",
        C2SP,
        "example.com/foo+530d903a",
    )
    assert PublicKey.parse(f" {C2SP}\n") == key  # as it comes from a terminal


def test_the_signature_of_the_specification_verifies() -> None:
    line = "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
    key, made = PublicKey.parse(C2SP), base64.b64decode(line)
    assert made[:4] == key.id
    key.verify(made[4:], b"This is an example message.\n")
    with pytest.raises(SignatureError):
        key.verify(made[4:], b"This is an example message.")


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "example.com/foo",
        C2SP[:-4],
        C2SP.replace("530d903a", "530d903b"),
        C2SP.replace("example.com/foo", "example.com/bar"),
        C2SP.replace("AekyeR", "AukyeR"),  # another algorithm's byte
        C2SP.replace("foo", "f oo"),
        C2SP + "!",
        C2SP.replace("530d903a", "530D903A"),
    ],
)
def test_what_is_not_a_verifier_key_is_refused(vkey: str) -> None:
    with pytest.raises(KeyFormatError):
        PublicKey.parse(vkey)


@given(st.integers(0, 43), st.integers(1, 255))
def test_a_wrong_character_in_a_verifier_key_is_noticed(place: int, mask: int) -> None:
    wrong = C2SP[: 24 + place] + chr(ord(C2SP[24 + place]) ^ mask) + C2SP[25 + place :]
    if wrong.strip() != C2SP:
        with pytest.raises(KeyFormatError):
            PublicKey.parse(wrong)


def test_a_key_signs_and_its_public_half_verifies() -> None:
    key = SigningKey.generate("sulku.test/k")
    key.public.verify(key.sign(b"message"), b"message")
    for signature, message in [(key.sign(b"message"), b"massage"), (bytes(64), b"message"), (b"", b"message")]:
        with pytest.raises(SignatureError):
            key.public.verify(signature, message)
    with pytest.raises(SignatureError):
        SigningKey.generate("sulku.test/k").public.verify(key.sign(b"message"), b"message")


def test_keys_go_through_pem_and_back() -> None:
    key = SigningKey.generate("sulku.test/k")
    again = SigningKey.load("sulku.test/k", key.pem())
    assert again.public == key.public
    assert PublicKey.load("sulku.test/k", key.public.pem()) == key.public
    assert again.sign(b"m") == key.sign(b"m")  # RFC 8032 signatures are deterministic


def test_another_kind_of_key_is_refused() -> None:
    elliptic = generate_private_key(SECP256R1())
    private = elliptic.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = elliptic.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for pem in (private, public, b"", b"not a key"):
        with pytest.raises(KeyFormatError):
            SigningKey.load("k", pem)
        with pytest.raises(KeyFormatError):
            PublicKey.load("k", pem)


def test_a_private_key_is_never_shown() -> None:
    key = SigningKey.generate("k")
    assert repr(key) == "SigningKey(name='k')"


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "ö", "x" * 201])
def test_a_name_that_would_break_a_note_is_refused(name: str) -> None:
    with pytest.raises(KeyFormatError):
        SigningKey.generate(name)


def test_a_public_key_of_another_length_is_refused() -> None:
    with pytest.raises(KeyFormatError):
        PublicKey("k", bytes(31))


def test_a_key_may_sign_from_its_first_moment_to_its_last() -> None:
    lived = Lived(SigningKey.generate("k").public, START, START + DAY)
    for moment in (START, START + DAY / 2, START + DAY):
        lived.check(moment)
    for moment in (START - DAY, START + DAY * 2):
        with pytest.raises(SignatureError):
            lived.check(moment)
    Lived(lived.key, START).check(START + 10_000 * DAY)


def test_a_ring_finds_keys_that_live_and_keys_that_are_retired() -> None:
    old, new = SigningKey.generate("k").public, SigningKey.generate("k").public
    ring = Keyring().add(old, START).retire(old, START + DAY).add(new, START + DAY)
    assert ring.find(old.hint).until == START + DAY
    assert ring.find(new.hint).until is None
    with pytest.raises(UnknownKeyError):
        ring.find(SigningKey.generate("k").public.hint)
    with pytest.raises(UnknownKeyError):
        Keyring().retire(old, START)


def test_a_ring_holds_no_key_twice() -> None:
    key = SigningKey.generate("k").public
    with pytest.raises(KeyFormatError):
        Keyring().add(key, START).add(key, START + DAY)


def test_a_ring_is_printed_and_read() -> None:
    old, new = SigningKey.generate("k").public, SigningKey.generate("k").public
    ring = Keyring().add(old, START).retire(old, START + DAY).add(new, START + DAY)
    assert Keyring.read(ring.document(START + DAY)) == (ring, START + DAY)


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"keys": None},
        {"keys": [{}]},
        {"keys": [{"key": C2SP, "since": "soon", "until": None}]},
        {"keys": [{"key": 1, "since": "2026-01-01T00:00:00.000Z", "until": None}]},
        {"keys": [{}] * (RING_LIMIT + 1)},
        {"at": 3},
    ],
)
def test_what_is_not_a_ring_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(KeyFormatError):
        Keyring.read(Keyring().document(START) | change)
