"""Commitments hide and bind; tokens are stored only as digests."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sulku.crypto import seal
from sulku.errors import CommitmentError, InvalidInputError

SALT = bytes(range(32))
texts = st.text(st.characters(exclude_categories=["Cs"]))


def test_a_commitment_is_the_hmac_of_its_domain_and_the_text() -> None:
    expected = hmac.new(SALT, b"sulku/commitment/v1\x00" + "Äiti".encode(), hashlib.sha256).hexdigest()
    assert seal.commit(SALT, "Äiti") == f"sha256:{expected}"


@given(texts)
def test_the_salt_and_the_text_open_a_commitment(text: str) -> None:
    seal.open_commitment(seal.commit(SALT, text), SALT, text)


@given(texts, texts)
def test_another_text_does_not_open_it(text: str, other: str) -> None:
    if text != other:
        with pytest.raises(CommitmentError):
            seal.open_commitment(seal.commit(SALT, text), SALT, other)


def test_another_salt_does_not_open_it() -> None:
    with pytest.raises(CommitmentError):
        seal.open_commitment(seal.commit(SALT, "text"), bytes(32), "text")


@pytest.mark.parametrize("commitment", ["", "sha256:", "ö", "sha256:" + "0" * 64])
def test_what_is_no_commitment_is_not_opened(commitment: str) -> None:
    with pytest.raises(CommitmentError):
        seal.open_commitment(commitment, SALT, "text")


def test_the_same_text_twice_gives_two_commitments_that_do_not_show_it() -> None:
    assert seal.commit(seal.salt(), "yes") != seal.commit(seal.salt(), "yes")
    assert len(seal.salt()) == 32


@pytest.mark.parametrize(("salt", "text"), [(b"", "text"), (b"x" * 31, "text"), (SALT, "\ud800")])
def test_a_short_salt_or_a_text_that_is_not_unicode_is_refused(salt: bytes, text: str) -> None:
    with pytest.raises(InvalidInputError):
        seal.commit(salt, text)


def test_a_token_has_its_bytes_and_is_known_by_its_digest_alone() -> None:
    drawn = {seal.token() for _ in range(100)}
    assert len(drawn) == 100
    assert {len(token) for token in drawn} == {43}
    token = drawn.pop()
    seal.check_token(token, seal.digest(token))
    assert token not in seal.digest(token)
    with pytest.raises(CommitmentError):
        seal.check_token(token + "x", seal.digest(token))


def test_a_token_that_could_be_guessed_is_not_drawn() -> None:
    assert len(seal.token(16)) == 22
    with pytest.raises(InvalidInputError):
        seal.token(15)


def test_a_digest_of_a_token_is_no_digest_of_a_file() -> None:
    assert seal.digest("abc") != seal.fingerprint(b"abc")
    assert seal.fingerprint(b"abc") == "sha256:" + hashlib.sha256(b"abc").hexdigest()
