"""An envelope is believed only whole, of its type, and from a key that was trusted and in use."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sulku.crypto import sign
from sulku.crypto.keys import Keyring, SigningKey
from sulku.errors import InvalidInputError, SignatureError, UnknownKeyError
from tests.core.ledgers import flip

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
KEY, OTHER = SigningKey.generate("sulku.test/permits"), SigningKey.generate("sulku.test/permits")
RING = Keyring().add(KEY.public, START)
ENVELOPE = sign.sign(sign.PERMIT, b'{"id":"per_1"}', KEY)


def test_the_signed_bytes_are_those_of_the_dsse_specification() -> None:
    assert sign.encode_preauth("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@given(st.binary())
def test_what_was_signed_comes_back(payload: bytes) -> None:
    assert sign.verify(sign.sign(sign.RELEASE, payload, KEY), RING, sign.RELEASE) == payload


@pytest.mark.parametrize("place", range(len(ENVELOPE)))
def test_no_byte_of_an_envelope_can_change(place: int) -> None:
    for mask in (0x01, 0x20, 0x80):
        with pytest.raises(SignatureError):
            sign.verify(flip(ENVELOPE, place, mask), RING, sign.PERMIT)


def test_a_permit_is_not_a_release() -> None:
    with pytest.raises(SignatureError, match="not a"):
        sign.verify(ENVELOPE, RING, sign.RELEASE)
    relabelled = ENVELOPE.replace(sign.PERMIT.encode(), sign.RELEASE.encode())
    with pytest.raises(SignatureError, match="does not fit"):
        sign.verify(relabelled, RING, sign.RELEASE)


def test_a_stranger_is_not_believed() -> None:
    with pytest.raises(UnknownKeyError):
        sign.verify(sign.sign(sign.PERMIT, b"{}", OTHER), RING, sign.PERMIT)
    unsigned = orjson.dumps(orjson.loads(ENVELOPE) | {"signatures": []}, option=orjson.OPT_SORT_KEYS)
    with pytest.raises(UnknownKeyError):
        sign.verify(unsigned, RING, sign.PERMIT)


def test_a_stranger_beside_a_known_key_neither_helps_nor_harms() -> None:
    assert sign.verify(sign.sign(sign.PERMIT, b"{}", OTHER, KEY), RING, sign.PERMIT) == b"{}"
    assert len(sign.read(sign.sign(sign.PERMIT, b"{}", OTHER, KEY)).signatures) == 2


def test_a_bad_signature_under_a_known_name_spoils_the_envelope() -> None:
    both = Keyring().add(KEY.public, START).add(OTHER.public, START)
    found = orjson.loads(sign.sign(sign.PERMIT, b"{}", KEY, OTHER))
    found["signatures"][1]["sig"] = base64.b64encode(bytes(64)).decode()
    with pytest.raises(SignatureError):
        sign.verify(orjson.dumps(found, option=orjson.OPT_SORT_KEYS), both, sign.PERMIT)


def test_a_retired_key_verifies_what_it_signed_while_it_lived_and_nothing_later() -> None:
    ring = RING.retire(KEY.public, START + DAY)
    assert sign.verify(ENVELOPE, ring, sign.PERMIT, START + DAY / 2)
    assert sign.verify(ENVELOPE, ring, sign.PERMIT, lambda payload: START + DAY * len(payload) / 14)
    for at in (START + DAY * 2, START - DAY, lambda payload: START + DAY * 3):
        with pytest.raises(SignatureError):
            sign.verify(ENVELOPE, ring, sign.PERMIT, at)
    with pytest.raises(SignatureError, match="nothing says when"):
        sign.verify(ENVELOPE, ring, sign.PERMIT)


def test_one_signer_who_was_in_use_is_enough() -> None:
    ring = RING.retire(KEY.public, START + DAY).add(OTHER.public, START + DAY)
    twice = sign.sign(sign.PERMIT, b"{}", KEY, OTHER)
    for at in (START, START + DAY * 2, None):
        assert sign.verify(twice, ring, sign.PERMIT, at) == b"{}"
    with pytest.raises(SignatureError):
        sign.verify(twice, ring, sign.PERMIT, START - DAY)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        ENVELOPE + b"\n",
        b" " + ENVELOPE,
        ENVELOPE.replace(b'"payload":', b'"extra":1,"payload":'),
        orjson.dumps(orjson.loads(ENVELOPE), option=orjson.OPT_INDENT_2),
        ENVELOPE.replace(b"==", b""),
        b"\xff",
        orjson.dumps({"payload": 3, "payloadType": "x", "signatures": []}),
    ],
)
def test_an_envelope_has_one_byte_form(data: bytes) -> None:
    with pytest.raises(SignatureError):
        sign.verify(data, RING, sign.PERMIT)


def test_too_many_signatures_are_not_tried() -> None:
    assert sign.verify(sign.sign(sign.PERMIT, b"", *[KEY] * sign.SIGNATURES), RING, sign.PERMIT) == b""
    with pytest.raises(SignatureError, match="signatures"):
        sign.verify(sign.sign(sign.PERMIT, b"", *[KEY] * (sign.SIGNATURES + 1)), RING, sign.PERMIT)


def test_a_huge_envelope_is_not_read() -> None:
    with pytest.raises(SignatureError, match="at most"):
        sign.read(b" " * (sign.LIMIT + 1))


def test_nothing_is_signed_by_nobody() -> None:
    with pytest.raises(InvalidInputError):
        sign.sign(sign.PERMIT, b"{}")
    sign.check_lived(RING.keys, START)
    with pytest.raises(SignatureError):
        sign.check_lived((), START)
