"""A document has one byte form, the one of RFC 8785, or none."""

from __future__ import annotations

from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from sulku.errors import NotCanonicalError
from sulku.ledger import canonical
from tests.core.ledgers import record

keys = st.text(st.characters(max_codepoint=127))
leaves = (
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(st.characters(exclude_categories=["Cs"]))
)
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=30)


@given(values)
def test_the_byte_form_is_that_of_rfc_8785(value: Any) -> None:
    assert canonical.canonical(value) == rfc8785.dumps(value)


@given(st.dictionaries(keys, values))
def test_what_was_encoded_is_decoded(document: dict[str, Any]) -> None:
    marked = document | {"v": 1}
    assert canonical.decode(canonical.encode(marked)) == marked


@pytest.mark.parametrize(
    "value",
    [1.0, float("nan"), {"a": [0.5]}, 2**53, -(2**53), {"ä": 1}, {1: 1}, b"x", {"s": {1}}, "\ud800", object()],
)
def test_what_writers_disagree_on_has_no_byte_form(value: Any) -> None:
    with pytest.raises(NotCanonicalError):
        canonical.canonical(value)


def test_the_largest_integers_and_a_tuple_have_one() -> None:
    assert canonical.canonical((2**53 - 1, -(2**53) + 1)) == b"[9007199254740991,-9007199254740991]"


def test_depth_is_bounded() -> None:
    deep: Any = []
    for _ in range(63):
        deep = [deep]
    assert canonical.canonical(deep)
    with pytest.raises(NotCanonicalError, match="levels"):
        canonical.canonical([deep])
    with pytest.raises(NotCanonicalError):
        canonical.decode(b"[" * 60_000)


@pytest.mark.parametrize("document", [{}, {"v": 2}, {"v": "1"}, {"v": True}, [], None])
def test_a_document_without_our_version_is_refused(document: Any) -> None:
    with pytest.raises(NotCanonicalError):
        canonical.encode(document)


@pytest.mark.parametrize(
    "data",
    [b'{"v":1,"a":1}', b'{"v": 1}', b'{"v":1}\n', b'{"v":1,"v":1}', b'{"a":1.0,"v":1}', b'{"v":1', b"", b"\xff", b"1"],
)
def test_other_bytes_for_the_same_document_are_refused(data: bytes) -> None:
    with pytest.raises(NotCanonicalError):
        canonical.decode(data)


def test_a_record_has_exactly_its_fields() -> None:
    whole = canonical.decode(record(3))
    assert canonical.encode_record(whole) == record(3)
    assert canonical.encode_record(canonical.decode(record(0))) == record(0)
    for wrong in (
        whole | {"extra": 1},
        {key: value for key, value in whole.items() if key != "by"},
        whole | {"index": -1},
        whole | {"index": "3"},
        whole | {"index": True},
        whole | {"at": 3},
        whole | {"id": None},
    ):
        with pytest.raises(NotCanonicalError):
            canonical.encode_record(wrong)


def test_a_record_fits_into_an_entry_bundle() -> None:
    whole = canonical.decode(record(3))
    room = canonical.LIMIT - len(record(3, {"text": ""}))
    assert len(canonical.encode_record(whole | {"body": {"text": "x" * room}})) == canonical.LIMIT
    with pytest.raises(NotCanonicalError, match="65535"):
        canonical.encode_record(whole | {"body": {"text": "x" * (room + 1)}})
